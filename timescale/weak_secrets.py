"""Rejects empty, example and guessable passwords."""

_EXAMPLES = (
    "change",
    "example",
    "password",
    "secret",
    "admin",
    "default",
    "warehouse",
    "test",
    "todo",
    "xxx",
    "…",
    "...",
)
_MIN_LENGTH = 12
_MIN_DISTINCT_CHARACTERS = 5

FIX = "run `make secrets`, which generates one"


def weakness(value: str, name: str = "") -> str | None:
    """Return the weakness of the secret ``value`` of user ``name`` with the fix, or None if it has none.

    The result does not contain the value.
    """
    normalized = value.strip().lower()
    if not normalized:
        return f"is empty; {FIX}"
    is_example = normalized == name.lower() or normalized.startswith(_EXAMPLES) or normalized[0] in "<{["
    if is_example:
        return f"is an example, not a secret; {FIX}"
    if len(normalized) < _MIN_LENGTH or len(set(normalized)) < _MIN_DISTINCT_CHARACTERS:
        return f"is too short or too simple; use {_MIN_LENGTH} characters or more, or clear it and {FIX}"
    return None
