"""Builds decoders: writes the registry to the database and decodes with the series it has there."""

import time
from collections.abc import Mapping

import structlog

from collector import units
from collector.decode.decoder import Decoder
from collector.formats.measurement import FormatOptions, Reader
from collector.registry import sync
from collector.registry.sensors_file import Registry
from collector.settings import CollectorSettings
from collector.store.birth_store import BirthStore
from core import database

log = structlog.get_logger()

_MAX_AGE_SECONDS = 3600.0


class DecoderBuilder:
    """Builds the decoders of one program, one for each registry that comes into force.

    The readers of formats, with their memory of earlier messages, go from one decoder to the next. ``births`` loads the
    stored Sparkplug births into them.
    """

    def __init__(self, settings: CollectorSettings, births: BirthStore) -> None:
        self._settings = settings
        self._births = births
        self._readers: Mapping[FormatOptions, Reader] = {}
        self._built = time.monotonic()

    @property
    def is_outdated(self) -> bool:
        """Whether the last decoder is an hour old: the oldest time that retention accepts moves with the days."""
        return time.monotonic() - self._built > _MAX_AGE_SECONDS

    def build(self, connection: database.Connection, registry: Registry) -> Decoder:
        """Write ``registry`` to the database and return the decoder for it; raises ``psycopg.Error``."""
        self._built = time.monotonic()
        synchronised = sync.synchronise(connection, registry)
        if synchronised.written or synchronised.retired:
            log.info(
                "registry written",
                sensors=len(registry.sensors),
                changed=synchronised.written,
                retired=synchronised.retired,
            )
        _load_units(registry)
        decoder = Decoder(
            registry.not_before(synchronised.oldest),
            synchronised.series_ids,
            synchronised.discovered,
            max_future_seconds=self._settings.max_future_seconds,
            max_message_bytes=self._settings.max_message_megabytes * 1_000_000,
            max_discovered=self._settings.max_discovered,
            readers=self._births.load_readers(connection, registry, self._readers),
        )
        self._readers = decoder.readers
        return decoder


def _load_units(registry: Registry) -> None:
    """Load the unit definitions if messages may name units: later the first such message would wait for that."""
    if any(entry.format.sends_units for entry in registry.entries):
        units.ready()
