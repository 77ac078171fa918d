"""Settings: from the environment and ``.env``, every mistake at once, no password in any message."""

import os
import subprocess
from pathlib import Path

import pytest
from fix_collector import PROGRAM, registry_text

from collector.settings import CollectorSettings, MqttSettings, load
from core.errors import SettingError

SECRET = "correct-horse-battery"


@pytest.fixture
def variables(monkeypatch):
    """Set variables in an environment that has none of the product's."""
    for name in list(os.environ):
        if name.startswith(("MQTT_", "COLLECTOR_")):
            monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def check(directory: Path, command: str = "check", **variables: str) -> subprocess.CompletedProcess:
    """Run a command of the collector in ``directory`` with these variables and none other of the product's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MQTT_", "COLLECTOR_", "PG"))}
    return subprocess.run(
        [PROGRAM, command],
        cwd=directory,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_defaults(variables):
    """Without any variable the settings are those of a broker on this machine."""
    assert (load(MqttSettings).host, load(MqttSettings).port) == ("localhost", 1883)
    assert load(CollectorSettings).registry == Path("sensors.json")


def test_every_mistake_at_once(variables):
    """All wrong settings of a part are reported together, each with its variable and what it is for."""
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
    assert any(line.endswith("One summary line every so many seconds.") for line in lines)


@pytest.mark.parametrize("name", ["MAX_FUTURE_SECONDS", "SUMMARY_SECONDS", "DRAIN_SECONDS"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "soon"])
def test_durations_are_finite(variables, name, value):
    """A duration is a finite number: nothing can wait for ever, or for no number of seconds."""
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
    """The password stands neither in the settings' own text nor in the message of any mistake."""
    variables(MQTT_USERNAME="me", MQTT_PASSWORD=SECRET)
    assert SECRET not in repr(load(MqttSettings)) + str(load(MqttSettings))
    variables(MQTT_PORT=SECRET)
    with pytest.raises(SettingError) as caught:
        load(MqttSettings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("command", ["check", "run"])
def test_everything_is_listed(tmp_path, command):
    """Mistakes in the settings of broker and collector and in the registry are listed in one go, nothing else done."""
    (tmp_path / "my.json").write_text('{"subscribe": ["a/#"], "types": {}, "sensors": [5], "colour": 1}')
    done = check(tmp_path, command, MQTT_PORT="x", MQTT_PASSWORD=SECRET, COLLECTOR_REGISTRY="my.json")
    assert done.returncode == 2
    assert done.stdout == ""
    for expected in ("MQTT_PORT", "my.json: 2 mistakes", "/sensors/0", "/colour"):
        assert expected in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
    wrong = check(tmp_path, command, MQTT_PORT="x", COLLECTOR_KEEPALIVE_SECONDS="x")
    assert "MQTT_PORT" in wrong.stderr
    assert "COLLECTOR_KEEPALIVE_SECONDS" in wrong.stderr


def test_dotenv_is_read(tmp_path):
    """A ``.env`` file fills in what the environment lacks; the environment wins."""
    (tmp_path / "mine.json").write_bytes(registry_text("a", sensors=3))
    (tmp_path / ".env").write_text("COLLECTOR_REGISTRY=mine.json\nMQTT_PORT=wrong\n")
    assert "MQTT_PORT" in check(tmp_path).stderr
    done = check(tmp_path, MQTT_PORT="1883")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 sensors, 6 series" in done.stdout


def test_check_of_the_repository():
    """The product's own registry passes ``collector check``."""
    done = check(Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sensors.json and settings are good:")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"MQTT_PASSWORD": "x"}, "set MQTT_USERNAME too"),
        ({"MQTT_CERT_FILE": "x.pem", "MQTT_KEY_FILE": "x.pem"}, "no TLS"),
        ({"MQTT_CA_FILE": "x.pem", "MQTT_CERT_FILE": "x.pem"}, "belong together"),
        ({"MQTT_CA_FILE": "nowhere.pem"}, "no such file nowhere.pem"),
    ],
)
def test_settings_that_would_do_nothing(variables, tmp_path, monkeypatch, given, complaint):
    """A setting that has no effect without another, or names no file, is refused with the mend."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pem").touch()
    variables(**given)
    with pytest.raises(SettingError, match=complaint):
        load(MqttSettings)


def test_empty_settings_are_unset(variables):
    """An empty variable, as a compose file passes one that is unset, means the default."""
    variables(MQTT_USERNAME="", MQTT_CA_FILE="", MQTT_HOST="")
    found = load(MqttSettings)
    assert (found.username, found.ca_file, found.host) == (None, None, "localhost")


def test_the_database_is_checked_too(tmp_path):
    """A port or TLS mode that libpq would choke on is found before anything connects."""
    done = check(tmp_path, PGPORT="abc", PGSSLMODE="always")
    assert done.returncode == 2
    assert "PGPORT" in done.stderr
    assert "PGSSLMODE" in done.stderr
