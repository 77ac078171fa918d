"""The local broker, for each program installed."""

import os
import socket
import stat
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from local_services import broker as brokers
from local_services.broker import BrokerError, LocalBroker

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(brokers.executable(kind) is None, reason=f"{kind} is not installed"))
    for kind in ("mosquitto", "nats")
]


def test_password_is_required(any_broker):
    """The generated password is accepted; a wrong one and no password are rejected."""
    port = int(any_broker.environment()["MQTT_PORT"])
    assert brokers.answers("127.0.0.1", port, any_broker.username, any_broker.password)
    assert not brokers.answers("127.0.0.1", port, any_broker.username, "wrong")
    assert not brokers.answers("127.0.0.1", port, "", "")


def test_listens_on_the_loopback_address_only(any_broker):
    """The broker listens on 127.0.0.1 only: its port on another loopback address is closed."""
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection(("127.0.0.2", any_broker.port), timeout=5)


@pytest.mark.parametrize("kind", KINDS)
def test_taken_port_is_replaced(kind, tmp_path):
    """A free port is used; one that is taken is replaced by a free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with LocalBroker(tmp_path / "first", kind=kind, port=port) as running:
            assert running.port != port
    with LocalBroker(tmp_path / "two", kind=kind, port=port) as running:
        assert running.port == port


@pytest.mark.parametrize("kind", KINDS)
def test_secrets_are_private(kind, tmp_path):
    """No file with the password is readable for others."""
    with LocalBroker(tmp_path / "b", kind=kind) as running:
        for path in (tmp_path / "b").rglob("*"):
            if path.is_file() and running.password.encode() in path.read_bytes():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert (tmp_path / "b" / "password").read_text() == running.password


@pytest.mark.parametrize("kind", KINDS)
def test_second_broker_on_the_directory_is_refused(kind, tmp_path):
    """Two brokers never share a directory: the error of the second names the process of the first."""
    with LocalBroker(tmp_path / "b", kind=kind) as running:
        with pytest.raises(BrokerError, match=f"kill {running.pid}"):
            LocalBroker(tmp_path / "b", kind=kind).start()
        pid = running.pid
    with LocalBroker(tmp_path / "b", kind=kind) as again:
        assert again.pid != pid


@pytest.mark.parametrize("kind", KINDS)
def test_dying_broker_shows_its_log(kind, tmp_path, monkeypatch):
    """A broker that ends immediately is an error with its log."""
    running = LocalBroker(tmp_path / "b", kind=kind)
    (tmp_path / "b").mkdir()
    bad = tmp_path / "b" / "bad.conf"
    bad.write_text("no_such_setting: 1\n")
    monkeypatch.setattr(running, "_write_mosquitto", lambda: bad)
    monkeypatch.setattr(running, "_write_nats", lambda: bad)
    with pytest.raises(BrokerError, match=r"ended with status [1-9](?s:.*)no_such_setting"):
        running.start()
    assert running.pid is None


@pytest.mark.parametrize("kind", KINDS)
def test_runs_below_a_private_directory(kind, tmp_path):
    """The broker starts and stores below a directory that only its owner may enter."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with LocalBroker(private / "b", kind=kind) as running:
        assert running.pid


def connect(running, client_id, *, on_message=None):
    """Return a connected client with a persistent session and manual acknowledgements."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True)
    client.username_pw_set(running.username, running.password)
    client.on_message = on_message
    client.connect("127.0.0.1", running.port)
    return client


def turn_until(client, condition, what):
    """Run the client's network loop until ``condition``, with a deadline."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen")
        client.loop(0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_broker_keeps_acknowledged_messages(kind, tmp_path, unique):
    """Acknowledged messages are in the session of an absent subscriber after the broker was killed."""
    if kind == "mosquitto" and not brokers.sqlite_plugin(brokers.executable(kind)):
        pytest.skip("this mosquitto has no plugin for SQLite: it keeps what its last snapshot has")
    expected = {str(number).encode() for number in range(2000)}
    with LocalBroker(tmp_path / "b", kind=kind) as running:
        port = running.port
        granted, acknowledged, received = [], [], set()
        reader = connect(running, f"{unique}-reader")
        reader.on_subscribe = lambda *_: granted.append(True)
        reader.subscribe(f"{unique}/#", 1)
        turn_until(reader, lambda: granted, "subscription")
        reader.disconnect()
        writer = connect(running, f"{unique}-writer")
        writer.on_publish = lambda *_: acknowledged.append(True)
        for payload in sorted(expected):
            writer.publish(f"{unique}/a", payload, qos=1)
        turn_until(writer, lambda: len(acknowledged) == len(expected), "acknowledgement")
        writer.publish(f"{unique}-none", b"", qos=1)  # after its answer, the messages before it are committed
        turn_until(writer, lambda: len(acknowledged) > len(expected), "acknowledgement")
        running.kill()
        assert running.pid is None
        running.start()
        assert running.port == port

        def take(client, _data, message):
            received.add(message.payload)
            client.ack(message.mid, message.qos)

        reader = connect(running, f"{unique}-reader", on_message=take)
        turn_until(reader, lambda: received == expected, "redelivery")
        reader.disconnect()


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_keeps_sessions(kind, tmp_path, unique):
    """After an orderly stop another broker on the directory has the same password and sessions."""
    received = []
    with LocalBroker(tmp_path / "b", kind=kind) as running:
        granted, acknowledged = [], []
        reader = connect(running, f"{unique}-reader")
        reader.on_subscribe = lambda *_: granted.append(True)
        reader.subscribe(f"{unique}/#", 1)
        turn_until(reader, lambda: granted, "subscription")
        reader.disconnect()
        writer = connect(running, f"{unique}-writer")
        writer.on_publish = lambda *_: acknowledged.append(True)
        writer.publish(f"{unique}/a", b"stored", qos=1)
        turn_until(writer, lambda: acknowledged, "acknowledgement")
        writer.disconnect()
    with LocalBroker(tmp_path / "b", kind=kind) as again:
        reader = connect(again, f"{unique}-reader", on_message=lambda _c, _d, message: received.append(message.payload))
        turn_until(reader, lambda: received, "delivery")
        reader.disconnect()
    assert received == [b"stored"]


@pytest.mark.skipif(os.geteuid() != 0 or "mosquitto" not in brokers.installed(), reason="needs root and mosquitto")
def test_mosquitto_as_root_drops_its_rights(tmp_path_factory):
    """Mosquitto started as root runs as its own user if that user can reach the directory."""
    import pwd
    import shutil
    import tempfile
    from pathlib import Path

    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    try:
        with LocalBroker(directory / "b", kind="mosquitto") as running:
            assert running.pid
            owner = Path(f"/proc/{running.pid}").stat().st_uid
            assert owner == pwd.getpwnam("mosquitto").pw_uid
    finally:
        shutil.rmtree(directory)


def test_missing_broker_names_the_packages(monkeypatch, tmp_path):
    """Without any broker the error names the packages to install."""
    monkeypatch.setattr(brokers, "executable", lambda _: None)
    with pytest.raises(BrokerError, match="install mosquitto"):
        LocalBroker(tmp_path)
