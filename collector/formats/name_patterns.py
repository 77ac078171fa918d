"""Options that are lists of names with the wildcards * and ?."""

import re
from fnmatch import translate
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from collector.formats.json_tree import LONGEST_PREFIX


def _tuple(raw: Any) -> Any:
    """Return a list of JSON as a tuple, since options are keys of a mapping; a text is a list of one name."""
    if isinstance(raw, str):
        return (raw,)
    return tuple(raw) if isinstance(raw, list) else raw


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_tuple)]
"""A name or a list of names, in which * matches any characters and ? one."""


def drop(members: dict[str, Any], names: re.Pattern[str] | None) -> None:
    """Delete the members that ``names`` matches."""
    for name in () if names is None else [name for name in members if names.fullmatch(name)]:
        del members[name]


def take_objects(
    members: dict[str, Any], names: re.Pattern[str] | None, prefix: str = ""
) -> list[tuple[str, dict[str, Any]]]:
    """Take the objects that ``names`` matches out of ``members``; return each with the last step of its name.

    Names of nested members are joined by slashes. ``prefix`` is put before each name; it ends in a slash.
    """
    taken: list[tuple[str, dict[str, Any]]] = []
    if names is None or len(prefix) > LONGEST_PREFIX:
        return taken
    for name, member in list(members.items()):
        if type(member) is dict:
            if names.fullmatch(prefix + name):
                taken.append((name, members.pop(name)))
            else:
                taken += take_objects(member, names, f"{prefix}{name}/")
    return taken


def matcher(names: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return the pattern that fully matches what one of ``names`` matches; None: there are none."""
    return re.compile("|".join(map(translate, names))) if names else None
