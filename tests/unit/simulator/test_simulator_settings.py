"""Settings of the simulator."""

import pytest

from core.errors import SettingError
from simulator import settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Remove settings from the environment of the tests."""
    for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "CA_FILE", "CERT_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"MQTT_{name}", raising=False)
    for name in ("SIMULATOR_SEED", "SIMULATOR_WINDOW", "COLLECTOR_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


def test_defaults():
    """The default settings are a broker on this machine and the registry in the working directory."""
    loaded = settings.load()
    assert (loaded.mqtt.host, loaded.mqtt.port, loaded.simulator.seed, str(loaded.registry)) == (
        "localhost", 1883, 1, "sensors.json",
    )  # fmt: skip


def test_every_mistake_at_once(monkeypatch):
    """Wrong values, missing files and settings that need each other are reported together."""
    monkeypatch.setenv("SIMULATOR_SEED", "one")
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    monkeypatch.setenv("MQTT_CERT_FILE", "nowhere.pem")
    with pytest.raises(SettingError) as caught:
        settings.load()
    message = str(caught.value)
    for part in ("SIMULATOR_SEED", "MQTT_USERNAME", "no such file nowhere.pem", "belong together"):
        assert part in message
    assert "secret" not in message
