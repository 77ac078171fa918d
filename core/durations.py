"""Durations as text: ``90s``, ``10m``, ``24h``, ``7d``, ``250ms``."""

import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


def parse(text: str) -> float:
    """Return the seconds of a duration; a number without a unit is in seconds. Raises :class:`ValueError`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write for example 90s, 10m, 24h or 7d")
    return float(match[1]) * _SECONDS[match[2] or "s"]
