"""Sparkplug births in the database: written with the batch they came in, taken back by a collector that starts."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from collector.formats.measurement import FormatOptions, Reader
from collector.formats.sparkplug.nodes import Nodes
from collector.formats.sparkplug.reader import SparkplugFormat, SparkplugReader
from collector.message import Message
from collector.registry.schema import UNSTORABLE
from collector.registry.sensors_file import Registry
from core import database
from core.errors import SettingError

_WRITE = """
insert into telemetry.birth as b (topic, received_at, payload) values (%s, %s, %s)
on conflict (topic) do update set received_at = excluded.received_at, payload = excluded.payload
where excluded.received_at >= b.received_at
"""
_READ = "select topic, payload, received_at from telemetry.birth order by received_at"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LONGEST_TOPIC = 1000
"""Bytes; longer ones no index takes. Their nodes, and those whose topic is no text, are asked again after a restart."""


def formats(registry: Registry) -> list[SparkplugFormat]:
    """Return the Sparkplug formats of ``registry``, each once."""
    every = [one.format for one in registry.sensors] + [pattern.prototype.format for pattern in registry.patterns]
    return list(dict.fromkeys(one for one in every if isinstance(one, SparkplugFormat)))


def check(registry: Registry, share_group: str | None) -> None:
    """Raise :class:`SettingError` where Sparkplug would be shared among collectors."""
    if share_group is not None and formats(registry):
        raise SettingError(
            "COLLECTOR_SHARE_GROUP: a birth would reach one collector of the group and its data another, and "
            "sensors.json has sensors of format sparkplug; unset it, or give those sensors to a collector of their own"
        )


class Births:
    """The births that the readers of one collector know, and which of them the database has."""

    def __init__(self) -> None:
        self.nodes: tuple[Nodes, ...] = ()
        self._written: list[tuple[Nodes, list[Message]]] = []

    def readers(
        self, connection: database.Connection, registry: Registry, known: Mapping[FormatOptions, Reader]
    ) -> dict[FormatOptions, Reader]:
        """Return ``known`` with a reader for each Sparkplug format of ``registry``; new ones know all stored births."""
        found = dict(known)
        new = [form for form in formats(registry) if form not in found]
        stored = connection.execute(_READ).fetchall() if new else []
        for form in new:
            reader = form.reader()
            for topic, payload, received_at in stored:
                received = (received_at - _EPOCH) // timedelta(microseconds=1)
                reader.nodes.prime(Message(topic, payload, received))
            found[form] = reader
        self.nodes = tuple(one.nodes for one in found.values() if isinstance(one, SparkplugReader))
        return found

    def write(self, connection: database.Connection) -> None:
        """Write the births that came since the last :meth:`committed`, in the transaction of their batch."""
        self._written = [(nodes, births) for nodes in self.nodes if (births := nodes.pending())]
        rows = [
            (birth.topic, _EPOCH + timedelta(microseconds=birth.received), birth.payload)
            for _, births in self._written
            for birth in births
            if not UNSTORABLE.search(birth.topic) and len(birth.topic.encode()) <= _LONGEST_TOPIC
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(_WRITE, sorted(rows))  # in one order, so that collectors don't deadlock

    def committed(self) -> None:
        """Take note that what was written last is committed."""
        for nodes, births in self._written:
            nodes.saved(births)
        self._written = []
