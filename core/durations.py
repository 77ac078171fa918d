"""Lengths of time as people write them: ``90s``, ``10m``, ``24h``, ``7d``, ``250ms``."""

import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


def seconds(text: str) -> float:
    """Return the seconds ``text`` means; a bare number is in seconds. Raises :class:`ValueError` with the mend."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no length of time: write one like 90s, 10m, 24h or 7d")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def text(length: float) -> str:
    """Return ``length`` seconds in the largest unit that keeps it short: ``24h``, ``90s``."""
    for unit in ("d", "h", "m"):
        if length >= _SECONDS[unit] and length % _SECONDS[unit] == 0:
            return f"{length / _SECONDS[unit]:g}{unit}"
    return f"{length:g}s"
