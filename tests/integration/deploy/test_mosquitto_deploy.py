"""The broker of deploy/mosquitto, started like its container: logins, access rules, TLS, private files."""

import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from fix_collector import until

from local_services.broker import answers, executable, sqlite_plugin
from local_services.ports import HOST, free_port

DEPLOY = Path(__file__).parents[3] / "deploy" / "mosquitto"
USERS = ("collector", "archiver", "access", "simulator", "forwarder", "devices")
PASSWORDS = {user: f"{number}f3Kq9-Zt_w7" * 2 for number, user in enumerate(USERS)}
SECRETS = {f"MQTT_{user.upper()}_PASSWORD": password for user, password in PASSWORDS.items()}

pytestmark = pytest.mark.skipif(
    executable("mosquitto") is None or not shutil.which("openssl") or not shutil.which("mosquitto_passwd"),
    reason="the deployed broker is not tested: mosquitto, mosquitto_passwd or openssl is not installed",
)


def run_entrypoint(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with PATH and ``environment``; return the completed process."""
    return subprocess.run(
        [str(DEPLOY / "entrypoint.sh"), *command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def certificates(directory: Path, *names: str) -> None:
    """Run certificates.sh."""
    subprocess.run([str(DEPLOY / "certificates.sh"), str(directory), *names], check=True, timeout=60)


class DeployedBroker:
    """The broker with the files of deploy/mosquitto; paths and ports differ, and SQLite is off if not installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        certificates(directory, HOST)
        program = executable("mosquitto")
        plugin = sqlite_plugin(program)
        text = (DEPLOY / "mosquitto.conf").read_text()
        self.tls, self.plain = free_port(), free_port()
        replacements = {
            "listener 8883": f"listener {self.tls} {HOST}",
            "listener 1883": f"listener {self.plain} {HOST}",
            "/run/mosquitto/": f"{directory}/run/",
            "/mosquitto/data/": f"{directory}/data/",
            "global_plugin /usr/lib/mosquitto_persist_sqlite.so": f"global_plugin {plugin}"
            if plugin
            else "persistence true",
        }
        for old, new in replacements.items():
            assert old in text
            text = text.replace(old, new)
        if plugin is None:
            text = re.sub(r"(?m)^plugin_opt_.*\n", "", text)
        (directory / "mosquitto.conf").write_text(text)
        (directory / "data").mkdir()
        config = directory / "config"
        config.mkdir()
        shutil.copy(DEPLOY / "acl", config)
        hashed = config / "devices"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(hashed), "pump-7", "pump-7-own"], check=True, timeout=60)
        if os.geteuid() == 0:
            shutil.chown(directory / "data", "mosquitto", "mosquitto")
        self.paths = {
            "MOSQUITTO_CONFIG": str(config),
            "MOSQUITTO_CERTS": str(directory / "certs"),
            "MOSQUITTO_RUN": str(directory / "run"),
        }
        self.log = (directory / "log").open("wb")
        self.process = subprocess.Popen(
            [str(DEPLOY / "entrypoint.sh"), str(program), "-c", str(directory / "mosquitto.conf")],
            env={"PATH": os.environ["PATH"], **self.paths, **SECRETS}, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        until(
            lambda: self.process.poll() is not None or answers(HOST, self.plain, "devices", PASSWORDS["devices"]),
            what="the broker does not answer",
        )
        assert self.process.poll() is None, (directory / "log").read_text()

    def environment(self, user: str = "collector", **settings: str) -> dict[str, str]:
        """Return the settings of a client outside of docker compose."""
        return {
            "MQTT_HOST": HOST,
            "MQTT_PORT": str(self.tls),
            "MQTT_USERNAME": user,
            "MQTT_PASSWORD": PASSWORDS[user],
            "MQTT_CA_FILE": str(self.directory / "certs" / "ca.pem"),
            **settings,
        }

    def close(self) -> None:
        """Stop the broker."""
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def deployed():
    """Start the broker of deploy/mosquitto in a directory that its user can read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        running = DeployedBroker(directory)
        yield running
        running.close()


class Client:
    """An MQTT client of one login; ``received`` has its messages as topic:payload."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.received: set[str] = set()
        self._answered = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.username_pw_set(user, password)
        self._client.on_message = lambda _c, _d, message: self.received.add(
            f"{message.topic}:{message.payload.decode()}"
        )
        self._client.on_subscribe = self._client.on_unsubscribe = lambda *_: self._answered.set()
        self._client.on_connect = lambda *_: self._answered.set()
        self._client.connect(HOST, port)
        self._wait_for_response(self._client.loop_start)

    def publish(self, topic: str, payload: str) -> None:
        """Publish and wait for the acknowledgement."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def subscribe(self, *topics: str) -> None:
        """Subscribe and wait for the SUBACK."""
        for topic in topics:
            self._wait_for_response(lambda topic=topic: self._client.subscribe(topic, 1))

    def wait_for_messages(self) -> None:
        """Return when all queued messages have arrived: the broker sends the UNSUBACK after them."""
        self._wait_for_response(lambda: self._client.unsubscribe("nothing"))

    def _wait_for_response(self, send) -> None:
        self._answered.clear()
        send()
        assert self._answered.wait(20)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def test_only_valid_logins_are_accepted(deployed):
    """Each user is accepted with its password, and refused with that of another user or without one."""
    for user in USERS:
        assert answers(HOST, deployed.plain, user, PASSWORDS[user])
    assert answers(HOST, deployed.plain, "pump-7", "pump-7-own")
    assert not answers(HOST, deployed.plain, "collector", PASSWORDS["archiver"])
    assert not answers(HOST, deployed.plain, "collector", "")
    assert not answers(HOST, deployed.plain, "", "")


PUBLISH = {
    "sensors/athens/hall-1/t1": {"access", "simulator", "devices"},
    "factory/line-1": {"access", "simulator"},
    "spBv1.0/plant/NCMD/node": {"collector", "access", "simulator"},
    "spBv1.0/STATE/host": {"collector", "access", "simulator"},
    "spBv1.0/plant/NDATA/node": {"access", "simulator"},
    "sensor-warehouse/share/group/member": {"collector", "forwarder", "archiver"},
    "sensor-warehouse/other": set(),
    "devices/pump-7/pressure": {"access", "simulator", "pump-7"},
    "devices/pump-8/pressure": {"access", "simulator"},
}


def test_publish_permissions(deployed):
    """A message of each user on each topic arrives exactly if the access rules allow it."""
    logins = {**PASSWORDS, "pump-7": "pump-7-own"}
    reader = Client(deployed.plain, "collector", PASSWORDS["collector"])
    reader.subscribe("#", "sensor-warehouse/#")
    expected = set()
    for user, password in logins.items():
        for topic, users in PUBLISH.items():
            client = Client(
                deployed.plain, user, password
            )  # a new client, because mosquitto 2.0.11 closes the connection after a refused publish
            client.publish(topic, user)
            client.close()
            if user in users:
                expected.add(f"{topic}:{user}")
    reader.wait_for_messages()
    assert {message for message in reader.received if message.rsplit(":", 1)[1] in logins} == expected
    reader.close()


def test_subscribe_permissions(deployed):
    """Collector, archiver and forwarder receive messages of devices, also by shared subscription; others do not."""
    clients = {user: Client(deployed.plain, user, PASSWORDS[user]) for user in USERS}
    for user, client in clients.items():
        client.subscribe("#" if user != "forwarder" else "$share/group/#")
    clients["devices"].publish("sensors/x", "read")
    for client in clients.values():
        client.wait_for_messages()
    readers = {user for user, client in clients.items() if "sensors/x:read" in client.received}
    assert readers == {"collector", "archiver", "forwarder"}
    for client in clients.values():
        client.close()


def test_external_port_requires_tls(deployed):
    """The external port refuses connections without TLS; its certificate is valid for the authority."""
    assert not answers(HOST, deployed.tls, "collector", PASSWORDS["collector"])
    context = ssl.create_default_context(cafile=str(deployed.directory / "certs" / "ca.pem"))
    with (
        socket.create_connection((HOST, deployed.tls), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as connection,
    ):
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("edition", ["postgresql"])
def test_collector_over_tls(database, deployed, collectors, unique, tmp_path):
    """The collector connects over TLS; with another authority it logs the reason and the broker."""
    running = collectors.start(deployed.environment())
    assert running.stop() == 0
    certificates(tmp_path / "other", HOST)
    other_authority = str(tmp_path / "other" / "certs" / "ca.pem")
    refusing = collectors.start(deployed.environment(MQTT_CA_FILE=other_authority), subscribed=False)
    line = refusing.wait_for("broker away")
    assert "certificate verify failed" in line["reason"]
    assert line["broker"] == f"{HOST}:{deployed.tls}"
    assert refusing.stop() == 0


def test_private_files(deployed):
    """Files with secrets have mode 0600 and no clear-text password, and neither has the environment of the broker."""
    files = list((deployed.directory / "run").iterdir())
    assert {path.name for path in files} == {"acl", "mosquitto_sub", "passwords", "server.key", "server.pem"}
    for path in (*files, deployed.directory / "certs" / "server.key", deployed.directory / "authority" / "ca.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not any(password in path.read_text() for password in PASSWORDS.values())
    environment = Path(f"/proc/{deployed.process.pid}/environ")
    if environment.exists():
        assert not any(password.encode() in environment.read_bytes() for password in PASSWORDS.values())
    if os.geteuid() == 0:
        assert {path.owner() for path in files} == {"mosquitto"}


def test_health(deployed):
    """The health check passes while the broker answers, and fails without a broker."""
    check = [str(DEPLOY / "healthy.sh")]
    environment = {"PATH": os.environ["PATH"], **deployed.paths}
    assert subprocess.run([*check, str(deployed.plain)], env=environment, check=False, timeout=30).returncode == 0
    assert subprocess.run([*check, str(free_port())], env=environment, check=False, timeout=30).returncode != 0


@pytest.mark.parametrize(
    "secret", ["", "changeme", "change-me-please-now", "my-password-123", "x7Kq2", "a:b" * 9, "collector" * 2]
)
def test_weak_secret_is_named(deployed, secret):
    """A missing or weak secret prevents the start; the message has its name, not its value."""
    process = run_entrypoint(
        {**deployed.paths, **SECRETS, "MQTT_COLLECTOR_PASSWORD": secret, "MQTT_ACCESS_PASSWORD": ""}, "echo", "on"
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert set(re.findall(r"MQTT_\w+", process.stderr)) == {"MQTT_COLLECTOR_PASSWORD", "MQTT_ACCESS_PASSWORD"}
    assert "make secrets" in process.stderr
    assert not secret or secret not in process.stderr.replace("MQTT_COLLECTOR_PASSWORD", "")


def test_missing_certificate_is_named(deployed, tmp_path):
    """A missing certificate prevents the start; the message names the file."""
    process = run_entrypoint({**deployed.paths, **SECRETS, "MOSQUITTO_CERTS": str(tmp_path)}, "echo", "on")
    assert process.returncode == 2
    assert f"{tmp_path}/server.key" in process.stderr


def test_certificates_are_created_once(tmp_path):
    """A second run changes nothing; without server.pem it renews only the server certificate."""
    certificates(tmp_path, "mosquitto", "127.0.0.1", "::1")
    files = [tmp_path / "certs" / name for name in ("ca.pem", "server.pem", "server.key")]
    first = [path.read_text() for path in files]
    names = subprocess.run(
        ["openssl", "x509", "-in", str(files[1]), "-noout", "-ext", "subjectAltName"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    assert "DNS:mosquitto, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in names
    certificates(tmp_path, "another")
    assert [path.read_text() for path in files] == first
    files[1].unlink()
    certificates(tmp_path, "another")
    assert files[0].read_text() == first[0]
    assert files[1].read_text() != first[1]
    subprocess.run(
        ["openssl", "verify", "-CAfile", str(files[0]), str(files[1])], check=True, capture_output=True, timeout=60
    )
