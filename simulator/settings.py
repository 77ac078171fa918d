"""The simulator's settings: environment variables, all checked before anything is connected."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from collector.settings import MqttSettings
from collector.settings import mistakes as lines
from core.errors import SettingError


class SimulatorSettings(BaseSettings):
    """The simulator itself: SIMULATOR_SEED, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="SIMULATOR_", extra="ignore")

    seed: int = Field(1, description="Same seed, same curves and faults.")
    window: int = Field(1000, ge=1, le=65_535, description="Most messages published and not yet acknowledged.")


class _RegistrySettings(BaseSettings):
    """Of the collector's settings the one that the simulator shares."""

    model_config = SettingsConfigDict(env_prefix="COLLECTOR_", extra="ignore")

    registry: Path = Field(Path("sensors.json"), description="The registry of sensors.")


@dataclass(frozen=True)
class Settings:
    """All that the environment says."""

    mqtt: MqttSettings
    simulator: SimulatorSettings
    registry: Path


def load() -> Settings:
    """Read the environment; raises :class:`SettingError` with every mistake in it."""
    found: dict[type[BaseSettings], BaseSettings] = {}
    mistakes: list[str] = []
    for model in (MqttSettings, SimulatorSettings, _RegistrySettings):
        try:
            found[model] = model()
        except ValidationError as error:
            mistakes.extend(lines(model, error))
    mqtt, simulator, shared = (found.get(model) for model in (MqttSettings, SimulatorSettings, _RegistrySettings))
    if mistakes:
        raise SettingError("\n".join(["wrong settings", *mistakes]))
    assert isinstance(mqtt, MqttSettings)
    assert isinstance(simulator, SimulatorSettings)
    assert isinstance(shared, _RegistrySettings)
    return Settings(mqtt, simulator, shared.registry)
