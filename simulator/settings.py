"""Settings of the simulator from the environment; all are checked before the first connection."""

from pathlib import Path
from typing import NamedTuple

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from collector.settings import RegistrySettings
from core.settings import EnvironmentSettings, MqttSettings, load_all


class SimulatorSettings(EnvironmentSettings):
    """The simulator itself: SIMULATOR_SEED, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="SIMULATOR_")

    seed: int = Field(1, description="Seed of curves and faults: the same seed gives the same readings.")
    window: int = Field(1000, ge=1, le=65_535, description="Maximum number of unacknowledged messages.")


class Settings(NamedTuple):
    """All settings of the simulator."""

    mqtt: MqttSettings
    simulator: SimulatorSettings
    shared: RegistrySettings

    @property
    def registry(self) -> Path:
        """Path of the registry of sensors."""
        return self.shared.registry


def load() -> Settings:
    """Return the settings from the environment; raises :class:`SettingError` that lists every mistake."""
    return load_all(Settings)
