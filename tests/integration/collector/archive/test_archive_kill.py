"""Killing the archiver at any moment loses nothing, and leaves no file that can't be read."""

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
    """Ten kills in the middle of a stream of files of a megabyte: every message is archived, every file is whole."""
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
        # A machine that stalls for seconds looks like a broker that has no more: what is left comes to the next.
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
    return {int(one.payload.split(b" ", 1)[0]) for one in Archive(paths).messages()}


def unreadable(directory: Path) -> list[Path]:
    """Return the finished files that a reader can't read to their end."""
    bad = []
    for path in directory.glob("date=*/hour=*/*.parquet"):
        try:
            duckdb.execute(f"select count(*), max(payload) from '{path}'").fetchall()
        except duckdb.Error:
            bad.append(path)
    return bad


def caught_up(running) -> bool:
    """Say whether nothing has arrived for some of the summary's periods."""
    return [line["event"] for line in running.lines[-3:]] == ["nothing arrived"] * 3
