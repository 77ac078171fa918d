"""`collector archive` beside `collector run` on a real broker, and a database rebuilt from the archive."""

import json
import os
import subprocess
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from fix_bad_input import CASES, TIME, probes_text, wide
from fix_collector import PROGRAM, until
from fix_publish import Publisher

from collector.commands import load
from collector.files.archive_file import Archive
from collector.message import Message
from collector.settings import CollectorSettings
from core.errors import SettingError


@pytest.fixture
def archiver(collectors, broker, tmp_path):
    """Start ``collector archive`` into a directory of this test."""

    def start(**more):
        return collectors.start(
            {**broker.environment(), "ARCHIVE_DIRECTORY": str(tmp_path / "archive")}, "archive", **more
        )

    return start


def archived(running) -> int:
    """Return the number of messages it has logged as archived."""
    return sum(line["messages"] for line in running.lines if line["event"] == "archived")


def finished(directory: Path) -> list[Message]:
    """Return the messages in the finished files."""
    paths = sorted(directory.glob("date=*/hour=*/*.parquet"))
    return list(Archive(paths).messages())


def send(broker, messages, **more) -> None:
    """Publish (topic, payload) and wait until the broker has them."""
    publisher = Publisher(broker.environment())
    publisher.send([(n, topic, payload) for n, (topic, payload) in enumerate(messages)], **more)
    until(lambda: len(publisher.acknowledged) == len(messages))
    publisher.close()


def test_messages_are_archived_exactly(broker, archiver, unique, tmp_path):
    """Payloads of any bytes, retained messages and both levels of QoS are archived unchanged."""
    send(broker, [(f"{unique}/kept", b"\0\xff")], retain=True)
    running = archiver()
    send(broker, [(f"{unique}/any", bytes(range(256))), (f"{unique}/empty", b""), (f"{unique}/large", b"x" * 500_000)])
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.username_pw_set(broker.username, broker.password)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(f"{unique}/zero", b"0", qos=0).wait_for_publish(10)
    until(lambda: archived(running) == 5)
    client.disconnect()
    client.loop_stop()
    assert running.stop() == 0
    by_topic = {message.topic.removeprefix(unique): (message.payload, message.qos, message.retained) for message in
             finished(tmp_path / "archive")}  # fmt: skip
    assert by_topic == {
        "/kept": (b"\0\xff", 1, True),
        "/any": (bytes(range(256)), 1, False),
        "/empty": (b"", 1, False),
        "/large": (b"x" * 500_000, 1, False),
        "/zero": (b"0", 0, False),
    }
    send(broker, [(f"{unique}/kept", b"")], retain=True)


def test_second_archiver_is_rejected(archiver, broker, collectors, tmp_path):
    """A second archiver on the same directory ends immediately, with an error that names the process and the fix."""
    running = archiver()
    process = subprocess.run(
        [PROGRAM, "archive"],
        env={**broker.environment(), "COLLECTOR_REGISTRY": str(collectors.registry),
             "ARCHIVE_DIRECTORY": str(tmp_path / "archive")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 1
    assert f"another archiver (process {running.process.pid})" in process.stderr
    assert "Traceback" not in process.stderr
    assert running.stop() == 0


def test_messages_between_two_runs(archiver, broker, unique, tmp_path):
    """Messages that are published while the archiver is stopped are archived afterwards."""
    running = archiver()
    send(broker, [(f"{unique}/t0", b"1")])
    running.wait_for("archived")
    assert running.stop() == 0
    send(broker, [(f"{unique}/t0", b"2")])
    running = archiver()
    running.wait_for("archived")
    assert running.stop() == 0
    assert [message.payload for message in finished(tmp_path / "archive")] == [b"1", b"2"]


def test_messages_stay_in_the_spool_while_the_archive_is_away(archiver, broker, unique, tmp_path):
    """While files can't be stored the messages stay in the spool; a later start finishes them."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    running = archiver(ARCHIVE_DIRECTORY=str(blocked), ARCHIVE_SPOOL=str(tmp_path / "spool"))
    send(broker, [(f"{unique}/t0", b"1")])
    running.wait_for("archived")
    assert running.stop() == 0
    running.wait_for("unfinished files stay in the spool; the next start finishes them")
    assert "spool" in running.wait_for("can't finish a file of the archive; its messages stay in the spool")["event"]
    running = archiver(ARCHIVE_SPOOL=str(tmp_path / "spool"))
    assert running.stop() == 0
    assert [message.payload for message in finished(tmp_path / "archive")] == [b"1"]


READINGS = "select sensor_id, quantity, time, value from telemetry.readings order by 1, 2, 3"
QUARANTINE = """
    select topic, payload, retained, reason, regexp_replace(detail, 'after \\S+', 'after its arrival'), readings
    from telemetry.quarantine order by 1, 2, 4, 5, 6
"""
ACCOUNTS = """
    select sum(messages), sum(decoded), sum(ignored), sum(quarantined_messages),
        sum(readings), sum(stored), sum(duplicate), sum(quarantined_readings)
    from telemetry.intake where source = %s
"""


def contents(database, source: str) -> tuple:
    """Return readings, quarantine and accounts, without the columns for time and source of arrival."""
    with database.connect() as connection:
        return (
            connection.execute(READINGS).fetchall(),
            connection.execute(QUARANTINE).fetchall(),
            connection.execute(ACCOUNTS, (source,)).fetchone(),
        )


def given(name: str) -> list[tuple[str, bytes]]:
    """Return valid messages, also of a sensor pattern, invalid ones, duplicates and conflicts."""
    good = [
        (f"{name}/p{n % 2}", wide(f"2026-03-01T10:{n // 60:02}:{n % 60:02}Z", temperature=n, humidity=50))
        for n in range(500)
    ]
    bad = [
        (case.topic.replace("plant", name, 1), case.payload)
        for case in CASES
        if "\0" not in case.topic and "\udcff" not in case.topic and len(case.topic) < 60_000
    ]
    conflicts = [(f"{name}/p0", wide(TIME, temperature=value)) for value in (-1, -2)]
    discovered = [(f"{name}/fleet/f{n % 3}", wide(f"2026-03-01T09:00:{n:02}Z", temperature=n)) for n in range(60)]
    return [*good, *discovered, *bad, *good[:50], *conflicts]


def registry_with_pattern(name: str) -> bytes:
    """Return a registry of two probes and a pattern that discovers more."""
    registry = json.loads(probes_text(name))
    pattern = {"type": "probe", "topic": f"{name}/fleet/{{sensor}}", "discover": True, "site": "there", "area": "attic"}
    registry["sensors"].append(pattern)
    return json.dumps(registry).encode()


def rebuild(database, broker, registry: Path, archive: Path) -> str:
    """Load the archive into ``database`` with the command; return its output."""
    environment = {**os.environ, **broker.environment(), **database.environment, "COLLECTOR_REGISTRY": str(registry)}
    process = subprocess.run(
        [PROGRAM, "load", archive], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_rebuilt_from_the_archive(database, servers, archiver, broker, collectors, unique, tmp_path):
    """A database rebuilt from the archive has the readings, quarantine and accounts of the live one."""
    collectors.registry.write_bytes(registry_with_pattern(unique))
    unlimited = {"COLLECTOR_QUARANTINE_MEGABYTES": "0"}
    live = collectors.start({**broker.environment(), **database.environment, **unlimited})
    archiving = archiver()
    messages = given(unique)
    send(broker, messages)
    with database.connect() as connection:
        count = "select coalesce(sum(messages), 0) from telemetry.intake"
        until(lambda: connection.execute(count).fetchone()[0] == len(messages), 120)
    until(lambda: archived(archiving) == len(messages), 120)
    assert (live.stop(), archiving.stop()) == (0, 0)
    built = contents(database, "mqtt")
    assert all(built)
    assert {reading[0] for reading in built[0]} == {"p0", "p1", "f0", "f1", "f2"}

    again = servers.create(database.edition, template="template")
    output = rebuild(again, broker, collectors.registry, tmp_path / "archive")
    assert output.startswith(f"archive: {len(messages):,} messages")
    assert contents(again, "archive") == built
    rebuild(again, broker, collectors.registry, tmp_path / "archive")
    assert contents(again, "archive")[0] == built[0]
    servers.drop(again)


def test_options_for_files_are_rejected(database, broker, collectors, tmp_path):
    """Options for files have no meaning for an archive and are rejected, not ignored."""
    settings = CollectorSettings(registry=collectors.registry, client_id="test")
    with pytest.raises(SettingError, match="remove the options for files"):
        load.load(
            [tmp_path], None, sensor="t0", columns=(), timezone=None, time_unit=None, delimiter=None, settings=settings
        )


def test_no_archive(database, collectors, tmp_path, capsys):
    """A directory without an archive is an error with its name and the fix; nothing is loaded."""
    settings = CollectorSettings(registry=collectors.registry, client_id="test")
    more = {"sensor": None, "columns": (), "timezone": None, "time_unit": None, "delimiter": None}
    assert load.load([tmp_path / "nowhere.parquet", tmp_path], None, **more, settings=settings) == 1
    errors = capsys.readouterr().err
    assert "a directory without an archive" in errors
    assert "no such file" in errors
