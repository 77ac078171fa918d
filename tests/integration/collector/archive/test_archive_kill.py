"""Killing the archiver at any moment loses no message and leaves no unreadable file."""

import random
from pathlib import Path

import duckdb
import pytest
from fix_collector import until
from fix_publish import Publisher

from collector.files.archive_file import Archive

pytestmark = pytest.mark.kill

ROUNDS = 10
MESSAGES = 3_000


def test_kill(collectors, broker, unique, tmp_path):
    """After ten kills during a stream of files of a megabyte, every message is archived and every file complete."""
    chance = random.Random(7)
    environment = {
        **broker.environment(),
        "ARCHIVE_DIRECTORY": str(tmp_path / "archive"),
        "ARCHIVE_FILE_MEGABYTES": "1",
    }
    publisher = Publisher(broker.environment(), client_id=f"{unique}-publisher")
    padding = random.Random(1).randbytes(700)
    running = collectors.start(environment, "archive")
    for number in range(ROUNDS):
        messages = [
            (index, f"{unique}/t{index % 4}", b"%d " % index + padding)
            for index in range(number * MESSAGES, (number + 1) * MESSAGES)
        ]
        cut = chance.randrange(MESSAGES // 4, MESSAGES * 3 // 4)
        publisher.send(messages[:cut])
        until(lambda number=number, cut=cut: len(publisher.acknowledged) > number * MESSAGES + cut // 2)
        publisher.send(messages[cut:])
        assert publisher.waiting, "the load was over before the kill"
        running.kill()
        assert unreadable(tmp_path / "archive") == []
        running = collectors.start(environment, "archive")
    until(lambda: len(publisher.acknowledged) == ROUNDS * MESSAGES, 60)
    publisher.close()
    missing = set(range(ROUNDS * MESSAGES))
    for _ in range(5):
        # A machine that stalls for seconds looks like a broker without messages: the next run gets the rest.
        until(lambda running=running: caught_up(running), 60)
        assert running.stop() == 0
        assert unreadable(tmp_path / "archive") == []
        missing -= archived(tmp_path / "archive")
        if not missing:
            break
        running = collectors.start(environment, "archive")
    assert not missing, f"{len(missing)} are missing, from {min(missing)} to {max(missing)}"
    assert not list((tmp_path / "archive" / ".spool").glob("*.*")), "something is left in the spool"


def archived(directory: Path) -> set[int]:
    """Return the numbers of the messages in the finished files."""
    paths = sorted(directory.glob("date=*/hour=*/*.parquet"))
    return {int(message.payload.split(b" ", 1)[0]) for message in Archive(paths).messages()}


def unreadable(directory: Path) -> list[Path]:
    """Return the finished files that can't be read completely."""
    bad = []
    for path in directory.glob("date=*/hour=*/*.parquet"):
        try:
            duckdb.execute(f"select count(*), max(payload) from '{path}'").fetchall()
        except duckdb.Error:
            bad.append(path)
    return bad


def caught_up(running) -> bool:
    """Return whether nothing has arrived for some of the summary's periods."""
    return [line["event"] for line in running.lines[-3:]] == ["nothing arrived"] * 3
