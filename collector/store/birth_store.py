"""Sparkplug births in the database: written with the batch they came in, read by a collector that starts."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from collector.formats.measurement import FormatOptions, Reader
from collector.formats.sparkplug.nodes import MOST_BYTES, Nodes, place
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
_PRUNE = """
delete from telemetry.birth
where topic in (
    select topic
    from (
        select topic, sum(octet_length(payload)) over (order by received_at desc, topic) as bytes from telemetry.birth
    ) as newest
    where bytes > %s
)
"""
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
        self._registry: Registry | None = None
        self._saved: list[tuple[Nodes, list[Message]]] = []
        """Births of the transaction that has not been reported as committed."""

    def load_readers(
        self, connection: database.Connection, registry: Registry, known: Mapping[FormatOptions, Reader]
    ) -> dict[FormatOptions, Reader]:
        """Return ``known`` and a reader, with all stored births, for each new Sparkplug format of ``registry``."""
        readers: dict[FormatOptions, Reader] = dict(known)
        new_readers = {form: form.reader() for form in sparkplug_formats(registry) if form not in known}
        if new_readers:
            # Row by row: all births together may be larger than the memory of a collector.
            with connection.transaction(), connection.cursor("births") as cursor:
                cursor.itersize = 10
                for topic, payload, received_at in cursor.execute(_READ):
                    received = (received_at - _EPOCH) // timedelta(microseconds=1)
                    for reader in new_readers.values():
                        reader.nodes.prime(Message(topic, payload, received))
        readers |= {form: reader for form, reader in new_readers.items()}  # noqa: C416 - of a wider type
        self._registry = registry
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
            if self._is_resolvable(birth.topic)
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(_WRITE, sorted(rows))  # in a fixed order, so that collectors don't deadlock
                cursor.execute(_PRUNE, (MOST_BYTES,))

    def _is_resolvable(self, topic: str) -> bool:
        """Return whether the registry has, or would discover, the sensor of a birth: anybody can invent nodes."""
        if self._registry is None:
            return True
        match = self._registry.routes.find(topic)
        if match is None:
            return False
        route, names = match
        device = place(topic).name
        if route.sensor_pattern is None:
            return len(route.sensors) == 1 or any(sensor.device == device for sensor in route.sensors)
        return route.sensor_pattern.find_sensor(topic, names, device) is not None

    def mark_committed(self) -> None:
        """Record that the births of the last :meth:`save` are committed."""
        for nodes, births in self._saved:
            nodes.saved(births)
        self._saved = []
