"""Parallel writers: each in order, nothing lost, no thread left."""

import threading

import psycopg
import pytest

from collector.store.batch import Accounts, Batch
from collector.store.parallel_writers import QUEUE_LENGTH, ParallelWriters


class FakeWriter:
    """Records batches; ``before`` is called first and may wait or raise."""

    def __init__(self, before=lambda batch: None) -> None:
        self.written: list[Batch] = []
        self._before = before
        self.interrupted = threading.Event()

    def write(self, batch, decode) -> Accounts:
        """Record ``batch``."""
        self._before(batch)
        self.written.append(batch)
        return Accounts(messages=1)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def interrupt(self) -> None:
        """Record the call."""
        self.interrupted.set()


def threads() -> list[threading.Thread]:
    """Return the running writer threads."""
    return [thread for thread in threading.enumerate() if thread.name == "writer"]


def test_each_writer_keeps_its_order():
    """All batches are written when finish returns, each by its writer and in order."""
    writers = [FakeWriter(), FakeWriter()]
    batches = [Batch() for _ in range(50)]
    total = Accounts()
    with ParallelWriters(writers, None, total.add) as parallel:
        for number, batch in enumerate(batches):
            parallel.put(number % 3 % 2, batch)
        parallel.finish()
        assert total.messages == 50
    assert writers[0].written == [batch for number, batch in enumerate(batches) if number % 3 % 2 == 0]
    assert writers[1].written == [batch for number, batch in enumerate(batches) if number % 3 % 2 == 1]
    assert not threads()


def test_waiting_writer_does_not_block_others():
    """While one writer waits the other continues."""
    release = threading.Event()
    slow, fast = FakeWriter(lambda _: release.wait(30)), FakeWriter()
    with ParallelWriters([slow, fast], None, lambda _: None) as parallel:
        for _ in range(QUEUE_LENGTH):
            parallel.put(0, Batch())
        for _ in range(20):
            parallel.put(1, Batch())
        assert not slow.written
        release.set()
        parallel.finish()
    assert (len(slow.written), len(fast.written)) == (QUEUE_LENGTH, 20)


def test_failure_is_raised_and_ends_all():
    """An error of one writer is raised by put and finish, and the other writer ends too."""

    def fail(_):
        raise ZeroDivisionError("defect")

    def put_forever(parallel):
        parallel.put(0, Batch())
        while True:
            parallel.put(1, Batch())

    with ParallelWriters([FakeWriter(fail), FakeWriter()], None, lambda _: None) as parallel:
        with pytest.raises(ZeroDivisionError, match="defect"):
            put_forever(parallel)
        with pytest.raises(ZeroDivisionError, match="defect"):
            parallel.finish()
    assert not threads()


def test_lost_connections_are_retried():
    """A batch is written although the database was away for a moment."""
    away = [psycopg.OperationalError("away")]

    def once(_):
        if away:
            raise away.pop()

    writer = FakeWriter(once)
    with ParallelWriters([writer], None, lambda _: None) as parallel:
        parallel.put(0, Batch())
        parallel.finish()
    assert len(writer.written) == 1


def test_abort_while_the_database_is_away():
    """Threads end immediately when a load is aborted, also those that wait for the database."""
    attempted = threading.Event()

    def away(_):
        attempted.set()
        raise psycopg.OperationalError("away")

    with ParallelWriters([FakeWriter(away), FakeWriter()], None, lambda _: None) as parallel:
        parallel.put(0, Batch())
        assert attempted.wait(30)
    assert not threads()


def test_abort_while_the_database_hangs():
    """A statement that hangs is interrupted when the load is aborted."""
    started = threading.Event()

    def hang(_):
        started.set()
        assert writer.interrupted.wait(30)
        raise psycopg.OperationalError("interrupted")

    writer = FakeWriter(hang)
    with ParallelWriters([writer], None, lambda _: None) as parallel:
        parallel.put(0, Batch())
        assert started.wait(30)
    assert not threads()
