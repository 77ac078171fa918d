"""Exponential back-off: pauses between retries that double up to a limit.

It only computes the pauses. The caller waits, on whatever ends its wait early: a stop event, a condition, a socket.
"""

from typing import Generic, TypeVar

Time = TypeVar("Time", int, float)


class Backoff(Generic[Time]):
    """Pauses of ``first``, twice that, … up to ``longest``, in the caller's unit of time."""

    def __init__(self, first: Time, longest: Time) -> None:
        self._first: Time = first
        self._longest: Time = longest
        self.pause: Time = first
        """Pause before the next retry."""
        self.last: Time | None = None
        """Pause before the latest retry; None: nothing was retried since the start or the last :meth:`reset`."""

    def advance(self) -> Time:
        """Return the pause before the next retry, and double the one after it."""
        self.last = self.pause
        self.pause = min(self.pause * 2, self._longest)
        return self.last

    def reset(self) -> None:
        """Start again with the first pause, as after a success."""
        self.pause = self._first
        self.last = None
