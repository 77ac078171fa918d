"""MQTT topic names and filters (MQTT 3.1.1, section 4.7)."""

MAXIMUM_BYTES = 65_535


def check_name(text: str) -> str:
    """Return ``text`` if it can be a topic name; raises ``ValueError`` with the mend otherwise."""
    _check(text)
    if "+" in text or "#" in text:
        raise ValueError("a topic to publish on has no wildcards; give the exact topic")
    return text


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


def matches(pattern: str, topic: str) -> bool:
    """Say whether filter ``pattern`` matches ``topic``; wildcards don't match a first level that begins with $."""
    if topic.startswith("$") and pattern[0] in "+#":
        return False
    wanted, given = pattern.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)
