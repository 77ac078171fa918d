"""Sparkplug births in the database: written with the batch they came in, read by a collector that starts."""

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
"""Bytes; an index can't hold longer ones. The births of such topics, and of topics that are no valid text, are not
stored: their nodes are asked for a rebirth after a restart."""


def sparkplug_formats(registry: Registry) -> list[SparkplugFormat]:
    """Return the Sparkplug formats of ``registry``, each once."""
    formats = [sensor.format for sensor in registry.sensors] + [
        pattern.prototype.format for pattern in registry.patterns
    ]
    return list(dict.fromkeys(form for form in formats if isinstance(form, SparkplugFormat)))


def check_share_group(registry: Registry, share_group: str | None) -> None:
    """Raise :class:`SettingError` if collectors of a share group would have to read Sparkplug."""
    if share_group is not None and sparkplug_formats(registry):
        raise SettingError(
            "COLLECTOR_SHARE_GROUP: a birth would reach one collector of the group and its data another, and "
            "sensors.json has sensors of format sparkplug; unset it, or use a separate collector for those sensors"
        )


class BirthStore:
    """The births that the Sparkplug readers of one collector know; those not in the database yet are saved to it."""

    def __init__(self) -> None:
        self.nodes: tuple[Nodes, ...] = ()
        self._saved: list[tuple[Nodes, list[Message]]] = []
        """Births of the transaction that has not been reported as committed."""

    def load_readers(
        self, connection: database.Connection, registry: Registry, known: Mapping[FormatOptions, Reader]
    ) -> dict[FormatOptions, Reader]:
        """Return ``known`` and a reader, with all stored births, for each new Sparkplug format of ``registry``."""
        readers = dict(known)
        new_formats = [form for form in sparkplug_formats(registry) if form not in readers]
        stored = connection.execute(_READ).fetchall() if new_formats else []
        for form in new_formats:
            reader = form.reader()
            for topic, payload, received_at in stored:
                received = (received_at - _EPOCH) // timedelta(microseconds=1)
                reader.nodes.prime(Message(topic, payload, received))
            readers[form] = reader
        self.nodes = tuple(reader.nodes for reader in readers.values() if isinstance(reader, SparkplugReader))
        return readers

    def save(self, connection: database.Connection) -> None:
        """Write the births that are not stored yet, in the transaction of their batch."""
        self._saved = [(nodes, births) for nodes in self.nodes if (births := nodes.pending())]
        rows = [
            (birth.topic, _EPOCH + timedelta(microseconds=birth.received), birth.payload)
            for _, births in self._saved
            for birth in births
            if not UNSTORABLE.search(birth.topic) and len(birth.topic.encode()) <= _LONGEST_TOPIC
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(_WRITE, sorted(rows))  # in a fixed order, so that collectors don't deadlock

    def mark_committed(self) -> None:
        """Record that the births of the last :meth:`save` are committed."""
        for nodes, births in self._saved:
            nodes.saved(births)
        self._saved = []
