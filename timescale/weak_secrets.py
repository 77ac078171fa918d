"""What is no secret: nothing, a word of the documentation, or less than a guesser tries in an hour."""

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
_SHORTEST = 12
_FEWEST_CHARACTERS = 5

MEND = "run `make secrets`, which makes one"


def weakness(value: str, name: str = "") -> str | None:
    """Return what is wrong with the secret ``value`` of somebody called ``name``, with the mend, or None.

    The value itself is never repeated.
    """
    low = value.strip().lower()
    if not low:
        return f"is empty; {MEND}"
    if low == name.lower() or any(low.startswith(example) for example in _EXAMPLES) or low[0] in "<{[":
        return f"is an example, not a secret; {MEND}"
    if len(low) < _SHORTEST or len(set(low)) < _FEWEST_CHARACTERS:
        return f"is too short or too simple; give it {_SHORTEST} characters or more, or empty it and {MEND}"
    return None
