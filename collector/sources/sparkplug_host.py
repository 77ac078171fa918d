"""What a collector says to Sparkplug's edge nodes: that it is there (STATE), and that it needs a birth (NCMD)."""

import json
from collections.abc import Iterator, Sequence

from collector.formats.sparkplug.nodes import NAMESPACE, Nodes, Publication


class SparkplugHost:
    """The Sparkplug host application that a collector is (Sparkplug 3.0, section 5.3).

    ``host_id`` is its name; without one it publishes no STATE, which only edge nodes that wait for their primary host
    need. It says nothing as long as it :meth:`follows` no nodes, that is while the registry knows no Sparkplug.
    """

    def __init__(self, host_id: str | None = None) -> None:
        self._topic = None if host_id is None else f"{NAMESPACE}/STATE/{host_id}"
        self._nodes: tuple[Nodes, ...] = ()
        self._online: Publication | None = None

    def follows(self, nodes: Sequence[Nodes]) -> None:
        """Speak for ``nodes`` from now on. From any thread."""
        for one in nodes:
            one.online = self._online
        self._nodes = tuple(nodes)

    def connecting(self, now: int) -> Publication | None:
        """Return the will of a connection that begins ``now``, in milliseconds since 1970; None: it has none."""
        if self._topic is None or not self._nodes:
            return None
        # Both carry one time: so a node tells the will of an earlier connection from that of the present one.
        self._online = self._state(self._topic, online=True, now=now)
        self.follows(self._nodes)
        return self._state(self._topic, online=False, now=now)

    def connected(self) -> Publication | None:
        """Return what is to be published once the connection has its subscriptions."""
        return self._online

    def leaving(self, now: int) -> Publication | None:
        """Return what is to be published before the connection is ended on purpose: then its will is not."""
        online, self._online = self._online, None
        self.follows(self._nodes)
        return None if online is None else self._state(online.topic, online=False, now=now)

    def outgoing(self) -> Iterator[Publication]:
        """Yield what is to be published, once."""
        for one in self._nodes:
            while one.outbox:
                yield one.outbox.popleft()

    @staticmethod
    def _state(topic: str, *, online: bool, now: int) -> Publication:
        payload = json.dumps({"online": online, "timestamp": now}, separators=(",", ":")).encode()
        return Publication(topic, payload, qos=1, retain=True)
