"""A write that hangs: the database neither answers nor refuses."""

import time

from fix_bad_input import NOW, TOPIC, probes, wide
from fix_collector import until

from collector.commands.database_target import DatabaseTarget
from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sync
from collector.store.group_commit import GroupCommit
from collector.store.writer import Writer


def test_stop_interrupts_a_write_that_hangs(database):
    """Stopping ends in time although a write hangs; nothing is stored and nothing reported as committed."""
    writer, committed = Writer("mqtt", "test"), []
    registry = probes()
    decode = Decoder(registry, sync.synchronise(writer.connection(), registry).series_ids).decode
    with database.connect(autocommit=False) as blocker, database.connect() as watcher:
        blocker.execute("lock table telemetry.intake")
        sink = GroupCommit(
            DatabaseTarget(writer, decode), committed=committed.extend, max_messages=10, max_bytes=1_000_000
        )
        sink.add(Message(TOPIC, wide(temperature=1), NOW))
        sink.notify()
        until(lambda: watcher.execute("select from pg_locks where not granted").fetchall())
        begun = time.monotonic()
        assert sink.stop(0.2) is False
        assert time.monotonic() - begun < 20
        blocker.rollback()
        until(lambda: not watcher.execute("select from pg_locks where not granted").fetchall())
        assert watcher.execute("select from telemetry.reading").fetchall() == []
    assert committed == []
    assert sink.failure is None
