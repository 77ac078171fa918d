"""Log lines about refused requests, limited in number: an attacker must not fill the log."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()

LINES = 10
"""Per minute."""
_LONGEST = 200


class Audit:
    """Logs refused requests; ``clock`` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._lines = 0
        self._suppressed = 0

    def refused(self, status: int, reason: str, *, client: str, method: str, path: str) -> None:
        """Log that a request was refused, at most :data:`LINES` times per minute; later lines count the others."""
        now = self._clock()
        if now - self._begun >= 60:  # noqa: PLR2004 - a minute
            self._begun, self._lines = now, 0
        if self._lines >= LINES:
            self._suppressed += 1
            return
        self._lines += 1
        suppressed, self._suppressed = self._suppressed, 0
        log.warning(
            "request refused",
            status=status,
            reason=reason[:_LONGEST],
            client=client,
            method=method[:20],
            path=path[:_LONGEST],
            **({"others": suppressed} if suppressed else {}),
        )
