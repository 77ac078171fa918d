"""The configuration of a command: all settings and the registry, with every mistake reported at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from collector.registry import sensors_file
from collector.settings import ArchiveSettings, CollectorSettings, KafkaSettings, RegistrySettings
from collector.store import birth_store
from core import setting_names, settings
from core.console import DOTENV
from core.errors import SettingError
from core.settings import DatabaseSettings, Mistakes, MqttSettings


class Settings(NamedTuple):
    """All settings of the collector."""

    database: DatabaseSettings
    mqtt: MqttSettings
    kafka: KafkaSettings
    archive: ArchiveSettings
    collector: CollectorSettings


class Configuration(NamedTuple):
    """All settings and the registry."""

    collector: CollectorSettings
    mqtt: MqttSettings
    kafka: KafkaSettings
    archive: ArchiveSettings
    registry: sensors_file.Registry


def load_configuration(*, decodes: bool = False, dotenv: bool = False) -> Configuration:
    """Return all settings and the registry; raises :class:`SettingError` that lists every mistake in them.

    ``decodes``: for a command that decodes messages. ``dotenv``: unknown names in ``.env`` are mistakes too.
    """
    mistakes = Mistakes()
    if dotenv:
        mistakes.collect(lambda: setting_names.check(DOTENV))
    loaded = mistakes.collect(lambda: settings.load_all(Settings))
    registry = mistakes.collect(lambda: sensors_file.load(settings.load(RegistrySettings).registry))
    if decodes and loaded and registry:
        mistakes.collect(lambda: birth_store.check_share_group(registry, loaded.collector.share_group))
    mistakes.check()
    assert loaded
    assert registry
    return Configuration(loaded.collector, loaded.mqtt, loaded.kafka, loaded.archive, registry)


def check() -> None:
    """Check the configuration and print its size; raises :class:`SettingError` that lists every mistake."""
    registry = load_configuration(decodes=True, dotenv=True).registry
    series = sum(len(sensor.quantities) for sensor in registry.sensors)
    patterns = f", {len(registry.patterns)} sensor patterns" if registry.patterns else ""
    for doubt in registry.doubts:
        print(f"Warning: {doubt}")
    print(f"sensors.json and settings are good: {len(registry.sensors)} sensors, {series} series{patterns}")


@contextmanager
def kafka_extra() -> Iterator[None]:
    """Turn a failed import of confluent_kafka in the block into a :class:`SettingError` that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingError("Kafka needs one more package: pip install 'sensor-warehouse[kafka]'") from error
