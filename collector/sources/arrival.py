"""Whether the time of a message's arrival is known: probes bound how long it can have waited in a broker's session.

A session delivers in the order of publishing. Each connection publishes a small message to a separate topic, the
probe, and gets it back through its session. Whatever arrives before the next probe was published after the last one,
so it has waited at most as long as that is ago: in the session while the collector was away, behind a full window
while the database was, or in a socket while the process was frozen.

docs/decisions/0021-arrival-after-an-outage.md has the reasons.
"""

import math
import secrets
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

import structlog

log = structlog.get_logger()

_TOPIC = "sensor-warehouse/arrival"
PREFIX = f"{_TOPIC}/".encode()
"""Beginning of the topics of all collectors' probes; their messages are never passed on."""
_ACCESS_RULE = f"topic readwrite {_TOPIC}/#"
_PROBES_PER_LIMIT = 3
_LEAST_QUIET_SECONDS = 5.0
"""A broker that has nothing else to send returns a probe sooner."""
_MOST_DISCONNECTS = 2
"""After this number no more probes are published by this process."""
_PROCESS = secrets.token_hex(8)


class Arrival:
    """The probes of the session of ``client_id``; with ``limit`` 0 (seconds) there are none.

    The newest probe that has come back stays unacknowledged until everything before the next one is. So the broker
    delivers it first to the session's next connection, also to one of another process, and the time in it bounds the
    waiting of what follows. Probes of this process are dated by ``clock``, those of others by ``wall``, in seconds.

    Until a probe has come back nothing is claimed: the broker may forbid them.
    """

    def __init__(
        self,
        client_id: str,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.topic = f"{_TOPIC}/{quote(client_id, safe='')}"
        self.is_known = False
        """Whether probes come back, so that waiting is bounded."""
        self._own = self.topic.encode()
        self._limit = limit
        self._clock = clock
        self._wall = wall
        self._newest = -math.inf
        """When the newest probe that has come back was published, by ``clock``."""
        self._published = 0.0
        self._outstanding: float | None = None
        """When the first probe of the connection was published that has not come back."""
        self._busy = 0.0
        """When the broker last sent something, or had to wait for this collector."""
        self._is_permitted = False
        """Whether a probe has come back through this connection."""
        self._disconnects = 0
        """Connections in a row that ended right after their first probe."""
        self._holds = True
        self._held: list[int] = []
        self._after: int | None = None
        """The delivery whose acknowledgement lets all held probes but the last go; None: there is none."""
        self._warned = False

    @property
    def is_enabled(self) -> bool:
        """Whether probes are published."""
        return self._limit > 0

    @property
    def longest_pause(self) -> float:
        """Seconds that the loop may wait without looking whether to publish a probe."""
        return min(1.0, self._limit / _PROBES_PER_LIMIT / 2) if self.is_enabled else 1.0

    @property
    def uncertain_seconds(self) -> float:
        """How long a message that arrives now can have waited; 0 while that is unknown."""
        return self._clock() - self._newest if self.is_known else 0.0

    def connected(self, *, new_session: bool) -> None:
        """Begin with a connection; nothing can have waited in a ``new_session``."""
        now = self._clock()
        self._published, self._outstanding, self._busy = 0.0, None, now
        self._held, self._after, self._holds = [], None, True
        self._is_permitted = False
        if new_session:
            self._newest = now

    def disconnected(self) -> None:
        """Notice a connection that ended; mosquitto 2.0.11 disconnects a client that publishes what it may not."""
        if self._published and not self._is_permitted and self._clock() - self._published < _LEAST_QUIET_SECONDS:
            self._disconnects += 1
            if self._disconnects == _MOST_DISCONNECTS:
                self.refused()

    def waited(self) -> int:
        """Return how long a message that is read now may have waited, in microseconds; 0: no longer than the limit."""
        now = self._busy = self._clock()
        seconds = now - self._newest
        return round(seconds * 1e6) if self.is_known and seconds > self._limit > 0 else 0

    def next_probe(self) -> tuple[bytes, int] | None:
        """Return payload and QoS of the next probe if its time has come.

        The first one of a connection has QoS 0, which tells only whether the broker permits probes: one of QoS 1 that
        it does not would be sent again at every connection.
        """
        now = self._clock()
        if not self.is_enabled or self._disconnects >= _MOST_DISCONNECTS:
            return None
        if self._published and now - self._published < self._limit / _PROBES_PER_LIMIT:
            return None
        self._published = now
        if self._outstanding is None:
            self._outstanding = now
        return f"{_PROCESS} {now!r} {self._wall()!r}".encode(), 1 if self._is_permitted else 0

    def returned(self, topic: bytes, payload: bytes, delivery: int, unacknowledged: int | None) -> list[int]:
        """Take a message below :data:`PREFIX`; return the deliveries to acknowledge.

        ``unacknowledged`` is the last delivery before it that is not acknowledged yet.
        """
        published = self._time(payload) if topic == self._own else None
        if published is None or not self.is_enabled or not delivery:
            if published is not None and not self._is_permitted:
                self._is_permitted, self._published, self._disconnects = True, 0.0, 0
            return [delivery] if delivery else []
        if not self.is_known:
            log.info("arrival times are known from now on", limit_seconds=self._limit)
        self.is_known = True
        self._newest = max(self._newest, published)
        self._outstanding, self._warned = None, False
        if not self._holds or delivery in self._held:
            return [] if self._holds else [delivery]
        self._after = unacknowledged
        oldest, *others = self._held or [delivery]
        self._held = [oldest, delivery] if oldest != delivery else [delivery]
        return [*others, *(self._release() if unacknowledged is None else [])]

    def acknowledged(self, deliveries: Sequence[int]) -> list[int]:
        """Return the probes to acknowledge after ``deliveries``."""
        return self._release() if self._after is not None and self._after in deliveries else []

    def overdue(self, *, is_idle: bool) -> list[int]:
        """Notice probes that do not come back although the broker has nothing to wait for; call it about once a second.

        ``is_idle``: messages are being read, and all of them are acknowledged. Returns the deliveries to acknowledge.
        """
        now = self._clock()
        if not is_idle:
            self._busy = now
        quiet = now - self._busy > max(_LEAST_QUIET_SECONDS, self._limit / _PROBES_PER_LIMIT)
        if self._outstanding is None or now - self._outstanding < max(_LEAST_QUIET_SECONDS, self._limit):
            return []
        if quiet and self._held:
            # A broker that allows one message in flight waits for this acknowledgement.
            held, self._held, self._after, self._holds = self._held, [], None, False
            self._outstanding = now
            return held
        if quiet or not self.is_known:
            self.refused()
        return []

    def refused(self) -> None:
        """Warn, once, that the broker does not deliver probes."""
        self.is_known = False
        if self._warned:
            return
        self._warned = True
        log.warning(
            "the broker does not return the collector's messages about arrival; readings without a time are stored "
            "with that of their arrival, also after an outage. Add the rule, or set COLLECTOR_ARRIVAL_LIMIT_SECONDS=0",
            topic=self.topic,
            rule=_ACCESS_RULE,
        )

    def _release(self) -> list[int]:
        released, self._held, self._after = self._held[:-1], self._held[-1:], None
        return released

    def _time(self, payload: bytes) -> float | None:
        """Return when a probe was published, by ``clock``; None: it is not one."""
        try:
            process, by_clock, by_wall = payload.decode().split(" ")
            age = self._clock() - float(by_clock) if process == _PROCESS else self._wall() - float(by_wall)
        except ValueError:
            return None
        return self._clock() - max(age, 0.0) if math.isfinite(age) else None
