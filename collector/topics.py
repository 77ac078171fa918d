"""MQTT topic filters (MQTT 3.1.1, section 4.7) and patterns: filters with named placeholders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAXIMUM_BYTES = 65_535


def check_filter(text: str) -> str:
    """Return ``text`` if it is a valid topic filter; raises ``ValueError`` that names the fix otherwise."""
    _check(text)
    levels = text.split("/")
    for index, level in enumerate(levels):
        if "#" in level and (level != "#" or index != len(levels) - 1):
            raise ValueError("# must be alone in the last level, as in 'sensors/#'")
        if "+" in level and level != "+":
            raise ValueError("+ must be alone in its level, as in 'sensors/+/state'")
    return text


def _check(text: str) -> None:
    if not text:
        raise ValueError("is empty; give the MQTT topic")
    if "\0" in text:
        raise ValueError("contains a NUL character, which MQTT forbids; remove it")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("contains half a surrogate pair, which is not valid UTF-8; remove it") from None
    if size > MAXIMUM_BYTES:
        raise ValueError(f"is longer than the {MAXIMUM_BYTES} bytes MQTT allows; shorten it")


def covers(pattern: str, wanted: str) -> bool:
    """Return whether filter ``pattern`` matches every topic that filter ``wanted`` matches."""
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
"""Name of the value of the wildcard #."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")


@dataclass(frozen=True)
class Template:
    """A text with placeholders, such as ``z2m-{sensor}``."""

    text: str
    names: tuple[str, ...] = field(compare=False)

    @classmethod
    def compile(cls, text: str) -> "Template":
        """Compile ``text``; raises ``ValueError`` that names the fix."""
        names = _placeholders(text)
        if ":path" in text:
            raise ValueError("{…:path} is allowed only in the topic; write the name alone here")
        return cls(text, tuple(names))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with each placeholder replaced by its value, or by nothing where it has none."""
        return _PLACEHOLDER.sub(lambda match: values.get(match[1], ""), self.text) if self.names else self.text


@dataclass(frozen=True)
class Pattern:
    """A topic filter with placeholders: ``{name}`` is any text in a level, ``{name:path}`` any levels."""

    text: str
    names: tuple[str, ...] = field(compare=False)
    filter: str = field(compare=False)
    """The narrowest MQTT topic filter that matches the same topics."""
    _expression: re.Pattern[str] = field(compare=False, repr=False)

    @classmethod
    def compile(cls, text: str) -> "Pattern":
        """Compile ``text``; raises ``ValueError`` that names the fix."""
        _check(text)
        names: list[str] = []
        levels, expressions = [], []
        path: int | None = None
        for index, level in enumerate(text.split("/")):
            placeholders = _placeholders(level)
            if len(placeholders) > 1:
                raise ValueError("a level has at most one placeholder; put each into a separate level")
            if not placeholders:
                levels.append(level)
                expressions.append("[^/]*" if level == "+" else re.escape(level))
                continue
            (name, spans), *_ = placeholders.items()
            if name in names:
                raise ValueError(f"{{{name}}} occurs twice; rename the second one")
            names.append(name)
            before, after = level[: level.index("{")], level[level.index("}") + 1 :]
            if {"+", "#"} & set(before + after):
                raise ValueError("+ and # must be alone in their level, as in 'sensors/+/{sensor}'")
            if spans and path is not None:
                raise ValueError("two placeholders of several levels are ambiguous; remove :path from one of them")
            path = index if spans else path
            levels.append("+")
            expressions.append(f"{re.escape(before)}(?P<{name}>{'.+' if spans else '[^/]+'}){re.escape(after)}")
        check_filter("/".join(levels))
        if levels[-1] == REST:
            if path is not None:
                raise ValueError("a placeholder of several levels next to # is ambiguous; remove one of them")
            rest = "(?P<rest__>.*)"
            expressions[-1:] = []
            expression = f"{'/'.join(expressions)}(?:/{rest})?" if expressions else rest
        else:
            expression = "/".join(expressions)
        narrow = "/".join(levels if path is None else [*levels[:path], REST])
        return cls(text, tuple(names), narrow, re.compile(expression, re.DOTALL))

    @property
    def exact(self) -> bool:
        """Whether it matches one topic, its text."""
        return self.filter == self.text and not {"+", "#"} & set(self.filter.split("/"))

    def match(self, topic: str) -> dict[str, str] | None:
        """Return the values of the placeholders in ``topic``; None: it doesn't match.

        The value of a final # has the name ``#``.
        """
        if topic.startswith("$") and self.filter[0] in "+#":
            return None
        match = self._expression.fullmatch(topic)
        if match is None:
            return None
        names = match.groupdict("")
        if "rest__" in names:
            names[REST] = names.pop("rest__")
        return names

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the filter for topics with these values; placeholders without a value become wildcards."""
        return "/".join(
            _PLACEHOLDER.sub(lambda match: values[match[1]], level)
            if all(name in values for name in _placeholders(level))
            else "+"
            for level in self.text.split("/")
        )


def _placeholders(text: str) -> dict[str, bool]:
    """Return the names of the placeholders in ``text``, and whether each spans several levels."""
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError("a placeholder is a name in braces, {sensor} or {sensor:path}; correct the braces")
    return {match[1]: match[2] is not None for match in _PLACEHOLDER.finditer(text)}
