"""Settings from the environment and ``.env``: all mistakes together, no password in any message."""

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from fix_collector import PROGRAM, registry_text

from collector.settings import CollectorSettings
from core.errors import SettingError
from core.settings import Mistakes, MqttSettings, load, load_all

SECRET = "correct-horse-battery"


@pytest.fixture
def variables(monkeypatch):
    """Return a function that sets variables in an environment without the product's settings."""
    for name in list(os.environ):
        if name.startswith(("MQTT_", "COLLECTOR_")):
            monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def check(directory: Path, command: str = "check", **variables: str) -> subprocess.CompletedProcess:
    """Run a command of the collector in ``directory`` with only ``variables`` of the product's settings."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MQTT_", "COLLECTOR_", "PG"))}
    return subprocess.run(
        [PROGRAM, command],
        cwd=directory,
        env={**others, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_defaults(variables):
    """The default settings are those of a broker on this machine."""
    assert (load(MqttSettings).host, load(MqttSettings).port) == ("localhost", 1883)
    assert load(CollectorSettings).registry == Path("sensors.json")


def test_every_mistake_at_once(variables):
    """All wrong settings of a class are reported together, each with its variable and its description."""
    variables(
        COLLECTOR_KEEPALIVE_SECONDS="1",
        COLLECTOR_MAX_BATCH_MESSAGES="many",
        COLLECTOR_CLIENT_ID="with space",
        COLLECTOR_SHARE_GROUP="a/b",
        COLLECTOR_SUMMARY_SECONDS="0",
    )
    with pytest.raises(SettingError) as caught:
        load(CollectorSettings)
    lines = str(caught.value).splitlines()[1:]
    assert {line.split(":")[0].strip() for line in lines} == {
        "COLLECTOR_KEEPALIVE_SECONDS",
        "COLLECTOR_MAX_BATCH_MESSAGES",
        "COLLECTOR_CLIENT_ID",
        "COLLECTOR_SHARE_GROUP",
        "COLLECTOR_SUMMARY_SECONDS",
    }
    assert any(line.endswith("Seconds between two summary lines in the log.") for line in lines)


@pytest.mark.parametrize("name", ["MAX_FUTURE_SECONDS", "SUMMARY_SECONDS", "DRAIN_SECONDS"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "soon"])
def test_durations_are_finite(variables, name, value):
    """A duration is a finite number of seconds and not negative."""
    variables(**{f"COLLECTOR_{name}": value})
    with pytest.raises(SettingError, match=f"COLLECTOR_{name}"):
        load(CollectorSettings)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "mqtt"])
def test_ports(variables, port):
    """A port is a number between 1 and 65535."""
    variables(MQTT_PORT=port)
    with pytest.raises(SettingError, match="MQTT_PORT"):
        load(MqttSettings)


def test_password_is_never_printed(variables):
    """Neither the text of the settings nor an error message contains the password."""
    variables(MQTT_USERNAME="me", MQTT_PASSWORD=SECRET)
    assert SECRET not in repr(load(MqttSettings)) + str(load(MqttSettings))
    variables(MQTT_PORT=SECRET)
    with pytest.raises(SettingError) as caught:
        load(MqttSettings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("command", ["check", "run"])
def test_everything_is_listed(tmp_path, command):
    """Mistakes in settings and registry are listed together, and the command does nothing else."""
    (tmp_path / "my.json").write_text('{"subscribe": ["a/#"], "types": {}, "sensors": [5], "colour": 1}')
    result = check(tmp_path, command, MQTT_PORT="x", MQTT_PASSWORD=SECRET, COLLECTOR_REGISTRY="my.json")
    assert result.returncode == 2
    assert result.stdout == ""
    for expected in ("MQTT_PORT", "my.json: 2 mistakes", "/sensors/0", "/colour"):
        assert expected in result.stderr
    assert SECRET not in result.stderr
    assert "Traceback" not in result.stderr
    result = check(tmp_path, command, MQTT_PORT="x", COLLECTOR_KEEPALIVE_SECONDS="x")
    assert "MQTT_PORT" in result.stderr
    assert "COLLECTOR_KEEPALIVE_SECONDS" in result.stderr


def test_dotenv_is_read(tmp_path):
    """A ``.env`` file sets variables that the environment lacks; the environment takes precedence."""
    (tmp_path / "mine.json").write_bytes(registry_text("a", sensors=3))
    (tmp_path / ".env").write_text("COLLECTOR_REGISTRY=mine.json\nMQTT_PORT=wrong\n")
    assert "MQTT_PORT" in check(tmp_path).stderr
    result = check(tmp_path, MQTT_PORT="1883")
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 sensors, 6 series" in result.stdout


def test_check_of_the_repository():
    """The product's own registry passes ``collector check``."""
    result = check(Path(__file__).parents[3])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("sensors.json and settings are good:")


@pytest.mark.parametrize(
    ("quantity", "unit", "warning"),
    [
        ("temperature", "C", "C is coulomb; degree Celsius is Cel"),
        ("temperature", "F", "F is farad; degree Fahrenheit is [degF]"),
        ("uptime", "m", "m is metre; a minute is min"),
        ("heap", "B", "B is bel; a byte is By"),
    ],
)
def test_check_warns_of_units_that_are_hardly_intended(tmp_path, quantity, unit, warning):
    """``collector check`` prints a line for a legal code that is almost certainly not intended, and exits with 0."""
    document = json.loads(registry_text("a", sensors=1))
    document["types"]["thermometer"]["quantities"] = {quantity: {"unit": unit, "interval_seconds": 1}}
    (tmp_path / "sensors.json").write_text(json.dumps(document))
    result = check(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    place = f"/types/thermometer/quantities/{quantity}/unit"
    assert result.stdout.splitlines()[0] == f"Warning: {place}: {warning} (found '{unit}')"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"MQTT_PASSWORD": "x"}, "set MQTT_USERNAME too"),
        ({"MQTT_CERT_FILE": "x.pem", "MQTT_KEY_FILE": "x.pem"}, "no TLS"),
        ({"MQTT_CA_FILE": "x.pem", "MQTT_CERT_FILE": "x.pem"}, "belong together"),
        ({"MQTT_CA_FILE": "nowhere.pem"}, "no such file nowhere.pem"),
    ],
)
def test_settings_without_effect(variables, tmp_path, monkeypatch, given, complaint):
    """A setting without effect unless another is set, or the name of a missing file, is refused with the fix."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pem").touch()
    variables(**given)
    with pytest.raises(SettingError, match=complaint):
        load(MqttSettings)


def test_empty_settings_are_unset(variables):
    """An empty variable, which a compose file passes for an unset one, means the default."""
    variables(MQTT_USERNAME="", MQTT_CA_FILE="", MQTT_HOST="")
    settings = load(MqttSettings)
    assert (settings.username, settings.ca_file, settings.host) == (None, None, "localhost")


def test_the_database_is_checked_too(tmp_path):
    """An invalid port or TLS mode of the database is reported before the first connection."""
    result = check(tmp_path, PGPORT="abc", PGSSLMODE="always")
    assert result.returncode == 2
    assert "PGPORT" in result.stderr
    assert "PGSSLMODE" in result.stderr


def test_unknown_name_in_dotenv_is_a_mistake(tmp_path):
    """``collector check`` reports a misspelled name in ``.env`` together with the other mistakes."""
    (tmp_path / "sensors.json").write_bytes(registry_text("a", sensors=1))
    (tmp_path / ".env").write_text("MQTT_HOSTT=broker\nMQTT_PORT=x\n")
    result = check(tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "line 1: MQTT_HOSTT: no such setting; the nearest is MQTT_HOST" in result.stderr
    assert "MQTT_PORT" in result.stderr


def test_unknown_name_in_the_environment_passes(tmp_path):
    """Names in the environment may belong to other programs (Kubernetes sets MQTT_SERVICE_HOST)."""
    (tmp_path / "sensors.json").write_bytes(registry_text("a", sensors=1))
    result = check(tmp_path, MQTT_SERVICE_HOST="10.0.0.1", MQTT_HOSTT="x")
    assert (result.returncode, result.stderr) == (0, "")


def test_several_classes_are_checked_together(variables):
    """``load_all`` loads a group of settings classes and lists the mistakes of all of them at once."""

    class Group(NamedTuple):
        mqtt: MqttSettings
        collector: CollectorSettings

    variables(MQTT_PORT="x", COLLECTOR_KEEPALIVE_SECONDS="1")
    with pytest.raises(SettingError) as caught:
        load_all(Group)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "wrong settings",
        "  MQTT_PORT",
        "  COLLECTOR_KEEPALIVE_SECONDS",
    ]
    variables(MQTT_PORT="1", COLLECTOR_KEEPALIVE_SECONDS="5")
    group = load_all(Group)
    assert (group.mqtt.port, group.collector.keepalive_seconds) == (1, 5)


def test_mistakes_of_any_kind_are_listed_together():
    """Mistakes collects the errors of several steps, each with its place, and raises them as one."""
    mistakes = Mistakes()
    assert mistakes.collect(lambda: 5) == 5
    assert mistakes.collect(lambda: int("five"), "--number: ") is None
    mistakes.add("--once needs --history")
    with pytest.raises(SettingError, match=r"^--number: invalid literal.*\n--once needs --history$"):
        mistakes.check()
    Mistakes().check()
