"""A database that neither answers nor refuses."""

import time

from fix_bad_input import NOW, TOPIC, probes, wide
from fix_collector import until

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sync
from collector.store.group_commit import Pipeline
from collector.store.writer import Writer


def test_stop_breaks_off_a_write_that_hangs(database):
    """Stopping while the database holds a write for ever ends in time, with nothing stored and nothing committed."""
    writer, committed = Writer("mqtt", "test"), []
    found = probes()
    decode = Decoder(found, sync.synchronise(writer.connection(), found).series_ids).decode
    with database.connect(autocommit=False) as blocker, database.connect() as watcher:
        blocker.execute("lock table telemetry.intake")
        pipeline = Pipeline(writer, decode, committed=committed.append, max_messages=10, max_bytes=1_000_000)
        pipeline.add(Message(TOPIC, wide(temperature=1), NOW))
        pipeline.notify()
        until(lambda: watcher.execute("select from pg_locks where not granted").fetchall())
        begun = time.monotonic()
        assert pipeline.stop(0.2) is False
        assert time.monotonic() - begun < 20
        blocker.rollback()
        until(lambda: not watcher.execute("select from pg_locks where not granted").fetchall())
        assert watcher.execute("select from telemetry.reading").fetchall() == []
    assert committed == []
    assert pipeline.failure is None
