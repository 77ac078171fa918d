"""Durations as text."""

import pytest

from core import durations


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("24h", 86_400), ("7d", 604_800), ("250ms", 0.25), ("1.5", 1.5)]
)
def test_durations_have_units(text, seconds):
    """A duration is read with its unit; a bare number is in seconds."""
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "1 hour", "1e3s", "nan"])
def test_invalid_durations(text):
    """Other text is refused with examples."""
    with pytest.raises(ValueError, match="not a duration: write for example 90s"):
        durations.parse(text)
