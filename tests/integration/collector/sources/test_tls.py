"""``collector run`` over TLS and with passwords: success and error messages."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from fix_certificates import make_authority, make_certificate
from fix_collector import until

from local_services.broker import LocalBroker, executable
from local_services.ports import HOST, free_port

# These tests are about collector and broker: one edition of the database is enough.
pytestmark = pytest.mark.parametrize("edition", ["postgresql"])

READING = json.dumps({"timestamp": "2026-03-01T12:00:00Z", "temperature": 20}).encode()


class TlsBroker:
    """A mosquitto with TLS only and a password."""

    def __init__(self, directory: Path) -> None:
        self.authority = make_authority(directory, "right")
        self.stranger = make_authority(directory, "wrong")
        certificate = make_certificate(directory, self.authority, HOST)
        plain = LocalBroker(directory / "plain", kind="mosquitto")
        plain.start()  # for its password file
        plain.stop()
        self.port = free_port()
        configuration = directory / "tls.conf"
        configuration.write_text(
            f"listener {self.port} {HOST}\ncertfile {certificate}\nkeyfile {certificate.with_suffix('.key')}\n"
            f"allow_anonymous false\npassword_file {directory / 'plain/mosquitto/passwords'}\nuser root\n"
        )
        self.environment = {
            **plain.environment(),
            "MQTT_PORT": str(self.port),
            "MQTT_CA_FILE": str(self.authority),
        }
        self.log = (directory / "tls.log").open("wb")
        self.process = subprocess.Popen(
            [str(executable("mosquitto")), "-c", str(configuration)], stdout=self.log, stderr=self.log
        )

    def client(self) -> mqtt.Client:
        """Return a connected publisher; waits until the broker answers."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.username_pw_set(self.environment["MQTT_USERNAME"], self.environment["MQTT_PASSWORD"])
        client.tls_set(str(self.authority))
        deadline = time.monotonic() + 20
        while True:
            try:
                client.connect(HOST, self.port)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                client.loop_start()
                return client

    def close(self) -> None:
        """Stop the broker."""
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Start a TLS broker; skipped if mosquitto or openssl is missing."""
    for program, path in (("mosquitto", executable("mosquitto")), ("openssl", shutil.which("openssl"))):
        if not path:
            pytest.skip(f"TLS is not tested: {program} is not installed")
    running = TlsBroker(tmp_path_factory.mktemp("tls"))
    yield running
    running.close()


def test_readings_over_tls(database, tls, collectors, unique):
    """With the right authority and password, many and large messages arrive over TLS, and SIGTERM drains."""
    client = tls.client()
    running = collectors.start(tls.environment)
    items = [{"timestamp": f"2026-03-01T11:00:00.{n:06}Z", "temperature": n} for n in range(20_000)]
    client.publish(f"{unique}/t0", json.dumps(items).encode(), qos=1)
    for n in range(500):
        client.publish(
            f"{unique}/t{n % 4}", READING.replace(b"12:00:00", f"12:{n // 60:02}:{n % 60:02}".encode()), qos=1
        )
    with database.connect() as connection:
        until(
            lambda: connection.execute("select sum(stored) from telemetry.intake").fetchone() == (20_500,), timeout=60
        )
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)
    assert running.stop() == 0
    client.disconnect()
    client.loop_stop()


def test_wrong_authority(database, tls, collectors):
    """A broker with a certificate of another authority is not used: a warning has the reason, and it retries."""
    tls.client().disconnect()
    running = collectors.start({**tls.environment, "MQTT_CA_FILE": str(tls.stranger)}, subscribed=False)
    line = running.wait_for("broker away", count=2)
    assert line["level"] == "warning"
    assert "certificate verify failed" in line["reason"]
    assert line["broker"] == f"{HOST}:{tls.port}"
    assert running.process.poll() is None
    assert running.stop() == 0


def test_name_that_the_certificate_does_not_have(database, tls, collectors):
    """A certificate of the right authority for another name is rejected."""
    running = collectors.start({**tls.environment, "MQTT_HOST": "localhost"}, subscribed=False)
    assert "certificate verify failed" in running.wait_for("broker away")["reason"]
    assert running.stop() == 0


@pytest.mark.parametrize("variable", ["MQTT_CA_FILE", "MQTT_CERT_FILE"])
def test_missing_files(database, tls, collectors, variable):
    """A missing certificate file ends the collector before it connects, with the name of the variable."""
    running = collectors.start({**tls.environment, variable: "nowhere.pem"}, subscribed=False)
    assert running.process.wait(30) == 2
    running.stop()
    assert any(f"{variable}: no such file nowhere.pem" in line["event"] for line in running.lines)


@pytest.mark.parametrize("variables", [{"MQTT_PASSWORD": "wrong-password"}, {"MQTT_USERNAME": "unknown"}])
def test_wrong_password(database, tls, collectors, variables):
    """A rejected password ends the collector with one message that names the variables, not the secret."""
    running = collectors.start({**tls.environment, **variables}, subscribed=False)
    assert running.process.wait(30) == 1
    running.stop()
    texts = [line["event"] for line in running.lines]
    assert len([text for text in texts if "MQTT_USERNAME" in text and "MQTT_PASSWORD" in text]) == 1
    assert texts[-1].startswith(f"collector: the broker at {HOST}:{tls.port} refuses this client")
    assert not any("Traceback" in text for text in texts)
    assert tls.environment["MQTT_PASSWORD"] not in str(running.lines)
    assert "wrong-password" not in str(running.lines)


def test_wrong_password_without_tls(database, any_broker, collectors):
    """Every broker's refusal of a password ends the collector with the same message."""
    running = collectors.start({**any_broker.environment(), "MQTT_PASSWORD": "wrong-password"}, subscribed=False)
    assert running.process.wait(30) == 1
    running.stop()
    assert "Check MQTT_USERNAME, MQTT_PASSWORD" in running.lines[-1]["event"]
