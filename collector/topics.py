"""MQTT topic names, filters (MQTT 3.1.1, section 4.7) and patterns: filters whose levels may have names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAXIMUM_BYTES = 65_535


def check_filter(text: str) -> str:
    """Return ``text`` if it can be a topic filter; raises ``ValueError`` with the mend otherwise."""
    _check(text)
    levels = text.split("/")
    for index, level in enumerate(levels):
        if "#" in level and (level != "#" or index != len(levels) - 1):
            raise ValueError("# stands alone in the last level only, as in 'sensors/#'")
        if "+" in level and level != "+":
            raise ValueError("+ stands alone in its level, as in 'sensors/+/state'")
    return text


def _check(text: str) -> None:
    if not text:
        raise ValueError("is empty; give the MQTT topic")
    if "\0" in text:
        raise ValueError("holds a NUL character, which MQTT forbids; remove it")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no UTF-8; remove it") from None
    if size > MAXIMUM_BYTES:
        raise ValueError(f"is longer than the {MAXIMUM_BYTES} bytes MQTT allows; shorten it")


def covers(pattern: str, wanted: str) -> bool:
    """Say whether filter ``pattern`` matches every topic that filter ``wanted`` matches."""
    if pattern[0] in "+#" and wanted[0] == "$":
        return False
    given, needed = pattern.split("/"), wanted.split("/")
    for index, level in enumerate(given):
        if level == "#":
            return True
        if index >= len(needed) or needed[index] == "#" or level not in ("+", needed[index]):
            return False
    return len(given) == len(needed)


REST = "#"
"""The name of what the wildcard # stands for."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class Template:
    """Text with placeholders, such as ``z2m-{sensor}``."""

    text: str
    names: tuple[str, ...] = field(compare=False)

    @classmethod
    def compile(cls, text: str) -> "Template":
        """Compile ``text``; raises ``ValueError`` with the mend."""
        names = _placeholders(text)
        if ":path" in text:
            raise ValueError("{…:path} belongs into the topic; write the name alone here")
        return cls(text, tuple(names))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with each placeholder's value; those without one become empty."""
        return _PLACEHOLDER.sub(lambda found: values.get(found[1], ""), self.text) if self.names else self.text


@dataclass(frozen=True)
class Pattern:
    """A topic filter in whose levels ``{name}`` stands for any text, and ``{name:path}`` for any levels."""

    text: str
    names: tuple[str, ...] = field(compare=False)
    filter: str = field(compare=False)
    """The narrowest topic filter of MQTT that matches what this does."""
    _expression: re.Pattern[str] = field(compare=False, repr=False)

    @classmethod
    def compile(cls, text: str) -> "Pattern":
        """Compile ``text``; raises ``ValueError`` with the mend."""
        _check(text)
        names: list[str] = []
        levels, expressions = [], []
        path: int | None = None
        for index, level in enumerate(text.split("/")):
            found = _placeholders(level)
            if len(found) > 1:
                raise ValueError("a level holds one placeholder at most; put them into levels of their own")
            if not found:
                levels.append(level)
                expressions.append("[^/]*" if level == "+" else re.escape(level))
                continue
            (name, spans), *_ = found.items()
            if name in names:
                raise ValueError(f"{{{name}}} stands twice; give the second another name")
            names.append(name)
            before, after = level[: level.index("{")], level[level.index("}") + 1 :]
            if {"+", "#"} & set(before + after):
                raise ValueError("+ and # stand alone in their level, as in 'sensors/+/{sensor}'")
            if spans and path is not None:
                raise ValueError("two placeholders of several levels can't be told apart; leave :path out of one")
            path = index if spans else path
            levels.append("+")
            expressions.append(f"{re.escape(before)}(?P<{name}>{'.+' if spans else '[^/]+'}){re.escape(after)}")
        check_filter("/".join(levels))
        if levels[-1] == REST:
            if path is not None:
                raise ValueError("a placeholder of several levels and # can't be told apart; leave one of them out")
            rest = "(?P<rest__>.*)"
            expressions[-1:] = []
            expression = f"{'/'.join(expressions)}(?:/{rest})?" if expressions else rest
        else:
            expression = "/".join(expressions)
        narrow = "/".join(levels if path is None else [*levels[:path], REST])
        return cls(text, tuple(names), narrow, re.compile(expression, re.DOTALL))

    @property
    def exact(self) -> bool:
        """Whether it matches its own text alone."""
        return self.filter == self.text and not {"+", "#"} & set(self.filter.split("/"))

    def match(self, topic: str) -> dict[str, str] | None:
        """Return what the placeholders stand for in ``topic``; None: it doesn't match.

        What the final # stands for is called ``#``.
        """
        if topic.startswith("$") and self.filter[0] in "+#":
            return None
        found = self._expression.fullmatch(topic)
        if found is None:
            return None
        names = found.groupdict("")
        if "rest__" in names:
            names[REST] = names.pop("rest__")
        return names

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the filter for the topics whose placeholders have these values; others become wildcards."""
        return "/".join(
            _PLACEHOLDER.sub(lambda found: values[found[1]], level)
            if all(name in values for name in _placeholders(level))
            else "+"
            for level in self.text.split("/")
        )


def _placeholders(text: str) -> dict[str, bool]:
    """Return the names of the placeholders in ``text``, and whether each spans several levels."""
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError("a placeholder is a name in braces, {sensor} or {sensor:path}; mend the braces")
    return {found[1]: found[2] is not None for found in _PLACEHOLDER.finditer(text)}
