"""Stateless random numbers: each is a function of a key and a number, so any time can be computed independently."""

import hashlib

_MASK = (1 << 64) - 1


def key(*parts: object) -> int:
    """Return a 64-bit key of ``parts``; equal parts give equal keys in every process and on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest)


def uniform(seed: int, number: int) -> float:
    """Return the ``number``-th value of key ``seed``, uniform in [0, 1): SplitMix64's output function."""
    mixed = (seed + number * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / (1 << 53)


def noise(seed: int, number: int) -> float:
    """Return a bell-shaped value of mean 0 and standard deviation 1 within ±3 (a sum of three uniform ones).

    It is bounded, because a plausible signal must stay in its range for years.
    """
    total = uniform(seed, 3 * number) + uniform(seed, 3 * number + 1) + uniform(seed, 3 * number + 2)
    return 2 * total - 3


def wander(seed: int, seconds: float, period: float) -> float:
    """Return a smooth curve in [-1, 1] that turns about once per ``period`` seconds and never repeats."""
    position = seconds / period
    knot = int(position // 1)
    share = position - knot
    left, right = uniform(seed, knot), uniform(seed, knot + 1)
    return 2 * (left + (right - left) * share * share * (3 - 2 * share)) - 1
