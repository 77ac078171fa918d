"""The broker of deploy/mosquitto, started as its container starts it: who gets in, and who may do what."""

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

from local_services.broker import HOST, answers, executable, free_port, sqlite_plugin

DEPLOY = Path(__file__).parents[3] / "deploy" / "mosquitto"
USERS = ("collector", "archiver", "access", "simulator", "forwarder", "devices")
PASSWORDS = {user: f"{number}f3Kq9-Zt_w7" * 2 for number, user in enumerate(USERS)}
SECRETS = {f"MQTT_{user.upper()}_PASSWORD": password for user, password in PASSWORDS.items()}

pytestmark = pytest.mark.skipif(
    executable("mosquitto") is None or not shutil.which("openssl") or not shutil.which("mosquitto_passwd"),
    reason="the deployed broker is not tested: mosquitto, mosquitto_passwd or openssl is not installed",
)


def enter(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with ``environment`` beside PATH, and return what came of it."""
    return subprocess.run(
        [str(DEPLOY / "entrypoint.sh"), *command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def certificates(directory: Path, *names: str) -> None:
    """Run the script that makes certificates."""
    subprocess.run([str(DEPLOY / "certificates.sh"), str(directory), *names], check=True, timeout=60)


class Deployed:
    """The broker with the files of deploy/mosquitto: only places and ports are others, and no SQLite if missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        certificates(directory, HOST)
        program = executable("mosquitto")
        plugin = sqlite_plugin(program)
        text = (DEPLOY / "mosquitto.conf").read_text()
        self.tls, self.plain = free_port(), free_port()
        replaced = {
            "listener 8883": f"listener {self.tls} {HOST}",
            "listener 1883": f"listener {self.plain} {HOST}",
            "/run/mosquitto/": f"{directory}/run/",
            "/mosquitto/data/": f"{directory}/data/",
            "global_plugin /usr/lib/mosquitto_persist_sqlite.so": f"global_plugin {plugin}"
            if plugin
            else "persistence true",
        }
        for old, new in replaced.items():
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
        self.places = {
            "MOSQUITTO_CONFIG": str(config),
            "MOSQUITTO_CERTS": str(directory / "certs"),
            "MOSQUITTO_RUN": str(directory / "run"),
        }
        self.log = (directory / "log").open("wb")
        self.process = subprocess.Popen(
            [str(DEPLOY / "entrypoint.sh"), str(program), "-c", str(directory / "mosquitto.conf")],
            env={"PATH": os.environ["PATH"], **self.places, **SECRETS}, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        until(
            lambda: self.process.poll() is not None or answers(HOST, self.plain, "devices", PASSWORDS["devices"]),
            what="the broker does not answer",
        )
        assert self.process.poll() is None, (directory / "log").read_text()

    def environment(self, user: str = "collector", **more: str) -> dict[str, str]:
        """Return the settings of a service that comes from outside."""
        return {
            "MQTT_HOST": HOST,
            "MQTT_PORT": str(self.tls),
            "MQTT_USERNAME": user,
            "MQTT_PASSWORD": PASSWORDS[user],
            "MQTT_CA_FILE": str(self.directory / "certs" / "ca.pem"),
            **more,
        }

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="module")
def deployed():
    """Start the broker of deploy/mosquitto, below a directory that its own user can reach."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        running = Deployed(directory)
        yield running
        running.close()


class Client:
    """One login: what it publishes is confirmed when ``publish`` returns, what it gets is in ``got``."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.got: set[str] = set()
        self._answered = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.username_pw_set(user, password)
        self._client.on_message = lambda _c, _d, message: self.got.add(f"{message.topic}:{message.payload.decode()}")
        self._client.on_subscribe = self._client.on_unsubscribe = lambda *_: self._answered.set()
        self._client.on_connect = lambda *_: self._answered.set()
        self._client.connect(HOST, port)
        self._turn(self._client.loop_start)

    def publish(self, topic: str, payload: str) -> None:
        """Publish and wait for the acknowledgement."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def subscribe(self, *topics: str) -> None:
        """Subscribe and wait for the answer."""
        for topic in topics:
            self._turn(lambda topic=topic: self._client.subscribe(topic, 1))

    def settle(self) -> None:
        """Return once all that the broker had for this client has come: an answer overtakes no message."""
        self._turn(lambda: self._client.unsubscribe("nothing"))

    def _turn(self, ask) -> None:
        self._answered.clear()
        ask()
        assert self._answered.wait(20)

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()


def test_only_passwords_open_it(deployed):
    """Each user gets in with its own password; a wrong one, another's, or none does not, on either port."""
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
    "sensor-warehouse/share/group/one": {"collector", "forwarder", "archiver"},
    "sensor-warehouse/other": set(),
    "devices/pump-7/pressure": {"access", "simulator", "pump-7"},
    "devices/pump-8/pressure": {"access", "simulator"},
}


def test_who_may_publish_where(deployed):
    """Every user's message on every topic comes through exactly where the access rules say so."""
    logins = {**PASSWORDS, "pump-7": "pump-7-own"}
    reader = Client(deployed.plain, "collector", PASSWORDS["collector"])
    reader.subscribe("#", "sensor-warehouse/#")
    expected = set()
    for user, password in logins.items():
        for topic, users in PUBLISH.items():
            client = Client(deployed.plain, user, password)  # mosquitto 2.0.11 ends a connection that is refused this
            client.publish(topic, user)
            client.close()
            if user in users:
                expected.add(f"{topic}:{user}")
    reader.settle()
    assert {one for one in reader.got if one.rsplit(":", 1)[1] in logins} == expected
    reader.close()


def test_who_may_read(deployed):
    """Collector, archiver and forwarder read what devices send, shared or not; the others read nothing."""
    clients = {user: Client(deployed.plain, user, PASSWORDS[user]) for user in USERS}
    for user, client in clients.items():
        client.subscribe("#" if user != "forwarder" else "$share/group/#")
    clients["devices"].publish("sensors/x", "read")
    for client in clients.values():
        client.settle()
    found = {user for user, client in clients.items() if "sensors/x:read" in client.got}
    assert found == {"collector", "archiver", "forwarder"}
    for client in clients.values():
        client.close()


def test_tls_is_required_from_outside(deployed):
    """The outer port answers nobody without TLS; with it, whoever trusts its authority can tell it is the one."""
    assert not answers(HOST, deployed.tls, "collector", PASSWORDS["collector"])
    trusting = ssl.create_default_context(cafile=str(deployed.directory / "certs" / "ca.pem"))
    with (
        socket.create_connection((HOST, deployed.tls), timeout=20) as raw,
        trusting.wrap_socket(raw, server_hostname=HOST) as line,
    ):
        assert line.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("edition", ["postgresql"])
def test_collector_from_outside(database, deployed, collectors, unique, tmp_path):
    """The collector comes in over TLS; told another authority it says why it does not, naming the broker."""
    running = collectors.start(deployed.environment())
    assert running.stop() == 0
    certificates(tmp_path / "other", HOST)
    stranger = str(tmp_path / "other" / "certs" / "ca.pem")
    refusing = collectors.start(deployed.environment(MQTT_CA_FILE=stranger), subscribed=False)
    line = refusing.wait_for("broker away")
    assert "certificate verify failed" in line["reason"]
    assert line["broker"] == f"{HOST}:{deployed.tls}"
    assert refusing.stop() == 0


def test_private_files(deployed):
    """What holds a secret is mosquitto's alone, holds no password in clear, and the process does not carry them on."""
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
    """The health check passes while the broker answers, and fails where nobody does."""
    check = [str(DEPLOY / "healthy.sh")]
    environment = {"PATH": os.environ["PATH"], **deployed.places}
    assert subprocess.run([*check, str(deployed.plain)], env=environment, check=False, timeout=30).returncode == 0
    assert subprocess.run([*check, str(free_port())], env=environment, check=False, timeout=30).returncode != 0


@pytest.mark.parametrize(
    "wrong", ["", "changeme", "change-me-please-now", "my-password-123", "x7Kq2", "a:b" * 9, "collector" * 2]
)
def test_wrong_secret_is_named(deployed, wrong):
    """A secret that is missing or an example keeps the broker from starting, with its name and without its text."""
    done = enter(
        {**deployed.places, **SECRETS, "MQTT_COLLECTOR_PASSWORD": wrong, "MQTT_ACCESS_PASSWORD": ""}, "echo", "on"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert set(re.findall(r"MQTT_\w+", done.stderr)) == {"MQTT_COLLECTOR_PASSWORD", "MQTT_ACCESS_PASSWORD"}
    assert "make secrets" in done.stderr
    assert not wrong or wrong not in done.stderr.replace("MQTT_COLLECTOR_PASSWORD", "")


def test_missing_certificate_is_named(deployed, tmp_path):
    """Without certificates the broker does not start, and says which file it wants."""
    done = enter({**deployed.places, **SECRETS, "MOSQUITTO_CERTS": str(tmp_path)}, "echo", "on")
    assert done.returncode == 2
    assert f"{tmp_path}/server.key" in done.stderr


def test_certificates_are_made_once(tmp_path):
    """A second run changes nothing; without server.pem only the server's is made anew, by the same authority."""
    certificates(tmp_path, "mosquitto", "127.0.0.1", "::1")
    files = [tmp_path / "certs" / name for name in ("ca.pem", "server.pem", "server.key")]
    first = [path.read_text() for path in files]
    said = subprocess.run(
        ["openssl", "x509", "-in", str(files[1]), "-noout", "-ext", "subjectAltName"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    assert "DNS:mosquitto, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in said
    certificates(tmp_path, "another")
    assert [path.read_text() for path in files] == first
    files[1].unlink()
    certificates(tmp_path, "another")
    assert files[0].read_text() == first[0]
    assert files[1].read_text() != first[1]
    subprocess.run(
        ["openssl", "verify", "-CAfile", str(files[0]), str(files[1])], check=True, capture_output=True, timeout=60
    )
