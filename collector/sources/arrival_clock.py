"""The clock of arrivals: unique, and never far from the clock of the host."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

LONGEST_AHEAD = 5_000_000
"""Microseconds that arrivals may be ahead of the host's clock after that was set back."""
_LEAST_JUMP = 1_000_000_000
"""Nanoseconds that the host's clock may differ from a steady one between two arrivals; NTP adjusts it by far less."""


class ArrivalClock:
    """Gives every message a microsecond of its own: two readings whose time is that of their arrival must not collide.

    While the host's clock is a little behind the last arrival, arrivals go on from that, a microsecond apart. A clock
    that was ahead by more than :data:`LONGEST_AHEAD` and was set right is followed at once: otherwise one jump would
    stamp all later arrivals falsely. ``wall`` is the host's clock, ``steady`` one that nobody sets, in nanoseconds.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self.jumps = 0
        """How often the host's clock was set, or the host was suspended, for more than a second."""
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._last = 0

    def next(self) -> int:
        """Return the arrival of the next message, in microseconds since 1970; the ones after it count up from it."""
        wall = self._wall()
        jump = wall - self._steady() - self._offset
        if abs(jump) > _LEAST_JUMP:
            self._offset += jump
            self.jumps += 1
            log.warning(
                "the clock of this host was set, or the host was suspended: arrivals follow its clock; check its time "
                "synchronisation",
                seconds=round(jump / 1e9, 3),
            )
        now = wall // 1_000
        return self._last + 1 if now <= self._last <= now + LONGEST_AHEAD else now

    def used(self, arrival: int) -> None:
        """Note that messages up to ``arrival`` have theirs."""
        self._last = arrival
