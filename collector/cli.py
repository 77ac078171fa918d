"""Console command ``collector``."""

import sys
from enum import StrEnum
from typing import Annotated

from collector import logs, registry, settings
from collector.settings import CollectorSettings, MqttSettings
from timescale.command import new_app, option, run
from timescale.errors import SettingError

app = new_app("Brings readings into the warehouse.")


@app.command()
def check() -> None:
    """Check sensors.json and all settings, list every mistake, connect to nothing."""
    mistakes = []
    found: registry.Registry | None = None
    for model in (MqttSettings, CollectorSettings):
        try:
            loaded = settings.load(model)
        except SettingError as error:
            mistakes.append(str(error))
        else:
            if isinstance(loaded, CollectorSettings):
                try:
                    found = registry.load(loaded.registry)
                except SettingError as error:
                    mistakes.append(str(error))
    if mistakes or found is None:
        raise SettingError("\n".join(mistakes))
    series = sum(len(sensor.quantities) for sensor in found.sensors)
    print(f"sensors.json and settings are good: {len(found.sensors)} sensors, {series} series")


class Source(StrEnum):
    """Where messages come from."""

    MQTT = "mqtt"


@app.command("run")
def run_(source: Annotated[Source, option("--source", help="Where messages come from.")] = Source.MQTT) -> None:
    """Collect until stopped; acknowledge every message after its readings are committed."""
    del source  # one so far
    from collector import service  # noqa: PLC0415 - `collector check` needs no driver and no broker client

    collector, mqtt = settings.load(CollectorSettings), settings.load(MqttSettings)
    logs.configure()
    sys.exit(service.run(collector, mqtt))


def main() -> None:
    """Run the console command."""
    run(app, "collector")
