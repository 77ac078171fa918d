"""Publications of a Sparkplug host application: its STATE (online, offline) and requests for a rebirth (NCMD)."""

import json
from collections.abc import Iterator, Sequence

from collector.formats.sparkplug.nodes import NAMESPACE, Nodes, Publication


class SparkplugHost:
    """The collector as a Sparkplug host application (Sparkplug 3.0, section 5.3).

    ``host_id`` is its name. Without one it publishes no STATE, which only edge nodes that wait for their primary host
    need. It publishes nothing before :meth:`follow` was called with nodes: while the registry has no Sparkplug sensor.
    """

    def __init__(self, host_id: str | None = None) -> None:
        self._topic = None if host_id is None else f"{NAMESPACE}/STATE/{host_id}"
        self._nodes: tuple[Nodes, ...] = ()
        self._online: Publication | None = None

    def follow(self, nodes: Sequence[Nodes]) -> None:
        """Publish for ``nodes`` from now on. From any thread."""
        for group in nodes:
            group.online = self._online
        self._nodes = tuple(nodes)

    def will(self, now: int) -> Publication | None:
        """Return the MQTT will of a connection that begins ``now`` (milliseconds since 1970); None: no will."""
        if self._topic is None or not self._nodes:
            return None
        # Online and offline STATE of one connection have the same timestamp, by which edge nodes recognise the will of
        # an earlier connection.
        self._online = self._state(self._topic, online=True, now=now)
        self.follow(self._nodes)
        return self._state(self._topic, online=False, now=now)

    def online(self) -> Publication | None:
        """Return the STATE to publish once the connection has its subscriptions."""
        return self._online

    def offline(self, now: int) -> Publication | None:
        """Return the STATE to publish before an orderly disconnect, after which the broker publishes no will."""
        online, self._online = self._online, None
        self.follow(self._nodes)
        return None if online is None else self._state(online.topic, online=False, now=now)

    def pop_publications(self) -> Iterator[Publication]:
        """Yield the publications that wait, each once."""
        for nodes in self._nodes:
            while nodes.outbox:
                yield nodes.outbox.popleft()

    @staticmethod
    def _state(topic: str, *, online: bool, now: int) -> Publication:
        payload = json.dumps({"online": online, "timestamp": now}, separators=(",", ":")).encode()
        return Publication(topic, payload, qos=1, retain=True)
