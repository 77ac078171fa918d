"""Unknown names of settings: ``collector check`` reports them, and the list of known names is complete."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from core import setting_names
from core.errors import SettingError

ROOT = Path(__file__).parents[3]
MODULES = ("access.settings", "collector.settings", "core.settings", "quality.settings", "simulator.settings",
           "timescale.settings")  # fmt: skip
OTHER_FILES = (".env.example", "docker-compose.yml", "local_services/access_server.py")


def settings_of_classes() -> set[str]:
    """Return the names of all settings that a class of the product reads, except libpq's."""
    return {
        f"{model.model_config['env_prefix']}{field}".upper()
        for module in MODULES
        for model in vars(importlib.import_module(module)).values()
        if isinstance(model, type) and issubclass(model, BaseSettings) and model.model_config["env_prefix"] != "PG"
        for field in model.model_fields
    }


def test_every_settings_module_is_looked_at():
    """Each module with a settings class is one of those that the other tests read."""
    declaring = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("access", "collector", "core", "local_services", "quality", "simulator", "timescale")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^class \w+\(\w*Settings\)", path.read_text(), re.MULTILINE)
    }
    assert declaring == set(MODULES)


def test_settings_of_all_classes_are_known():
    """The list of the product's settings is exactly that of the settings classes."""
    assert settings_of_classes() - {""} == setting_names.SETTINGS


def test_other_names_are_those_of_compose_and_shell():
    """The other known names are exactly the ones in .env.example, docker-compose.yml and the demonstration."""
    texts = "".join((ROOT / name).read_text() for name in OTHER_FILES)
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    named |= set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)", texts))
    named |= {"ACCESS_URL", "ACCESS_TOKEN"}
    ours = {name for name in named if name.startswith(setting_names.PREFIXES)}
    assert ours - setting_names.SETTINGS == setting_names.OTHER
    assert [name for name in setting_names.OTHER if name not in texts] == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MQTT_HOSTT", "MQTT_HOST"),
        ("COLLECTOR_KEEPALIVE_SECOND", "COLLECTOR_KEEPALIVE_SECONDS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("ARCHIVE_DIRECTRY", "ARCHIVE_DIRECTORY"),
        ("ACCESS_TOKEN_FILE", "ACCESS_TOKENS_FILE"),
        ("SIMULATOR_SEEDS", "SIMULATOR_SEED"),
        ("QUALITY_MAILTO", "QUALITY_MAIL_TO"),
        ("TIMESCALE_RETENTION_DAY", "TIMESCALE_RETENTION_DAYS"),
        ("mqtt_hostt", "MQTT_HOST"),
    ],
)
def test_unknown_name_is_reported_with_the_nearest(tmp_path, name, meant):
    """An unknown name with a prefix of the product is reported with its line and the nearest known name."""
    path = tmp_path / ".env"
    path.write_text(f"# comment\nPGHOST=localhost\nexport {name}=x\n")
    with pytest.raises(SettingError) as caught:
        setting_names.check(path)
    assert str(caught.value).endswith(f"\n  line 3: {name}: no such setting; the nearest is {meant}")


def test_unknown_name_like_no_other(tmp_path):
    """An unknown name without a near one is reported too."""
    path = tmp_path / ".env"
    path.write_text("MQTT_XYZZY_QUUX_0=1\n")
    with pytest.raises(SettingError, match=r"line 1: MQTT_XYZZY_QUUX_0: no such setting; .env.example lists all"):
        setting_names.check(path)


def test_known_and_foreign_names_pass(tmp_path):
    """Known names, those of other programs and commented lines are no mistakes; nor is a missing file."""
    path = tmp_path / ".env"
    setting_names.check(path)
    path.write_text(
        "MQTT_HOST=a\nmqtt_port=1\nMQTT_DEVICES_PASSWORD=b\nPGHOST=c\nAIRFLOW__CORE__X=d\nHOME_ASSISTANT=1\n#MQTT_HOSTT=x\n"
    )
    setting_names.check(path)
