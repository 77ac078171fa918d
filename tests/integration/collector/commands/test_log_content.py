"""Logs contain no complete payloads and no secrets."""

import json

import pytest
from fix_collector import until
from fix_publish import Publisher

MARK = "payload-4f1c"
"""End of every payload here; an error may quote the beginning."""


@pytest.fixture
def publisher(broker):
    """Return a publisher to the broker of this session."""
    publisher = Publisher(broker.environment())
    yield publisher
    publisher.close()


def bad_payloads() -> list[bytes]:
    """Return payloads that are rejected for different reasons, with the mark at their end."""
    end = f'"note": "{"x" * 200}{MARK}"}}'.encode()
    return [
        b"no JSON " + end,
        b"\xff" + end,
        b'{"timestamp": "yesterday ' + b"y" * 100 + b'", "temperature": 1, ' + end,
        b'{"timestamp": "2026-03-01T12:00:00Z", "temperature": "' + b"z" * 200 + MARK.encode() + b'", ' + end,
        b'{"timestamp": "2026-03-01T12:00:00Z", "temperature": 1e999, ' + end,
        b'{"timestamp": "2026-03-01T12:00:00Z", "pressure": 1, ' + end,
    ]


@pytest.mark.parametrize("command", ["run", "archive"])
def test_no_whole_payload_and_no_secret_is_logged(command, database, broker, collectors, publisher, unique, tmp_path):
    """No log line has the end of a payload or a password, whatever arrives."""
    environment = {**broker.environment(), "ARCHIVE_DIRECTORY": str(tmp_path / "archive")}
    running = collectors.start(environment, command)
    messages = [(f"{unique}/t0", payload) for payload in bad_payloads()]
    messages.append((f"{unique}/unknown", b"unknown " * 20 + MARK.encode()))
    publisher.send((number, *message) for number, message in enumerate(messages))
    until(lambda: len(publisher.acknowledged) == len(messages))
    if command == "run":
        with database.connect() as connection:
            held = "select count(*) from telemetry.quarantine"
            until(lambda: connection.execute(held).fetchone()[0] >= len(messages))
    running.wait_for("archived" if command == "archive" else "collected")
    assert running.stop() == 0
    lines = [json.dumps(line, ensure_ascii=False) for line in running.lines]
    hidden = [MARK, database.environment["PGPASSWORD"], broker.environment()["MQTT_PASSWORD"]]
    assert [line for line in lines if any(secret in line for secret in hidden)] == []
