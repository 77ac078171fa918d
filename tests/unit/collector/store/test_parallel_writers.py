"""Several writers at once: each in order, nothing lost, nothing left behind."""

import threading

import psycopg
import pytest

from collector.store.batch import Accounts, Batch
from collector.store.parallel_writers import WAITING, Lanes


class FakeWriter:
    """Keeps what it is given; ``before`` is called first and may wait or raise."""

    def __init__(self, before=lambda batch: None) -> None:
        self.written: list[Batch] = []
        self._before = before
        self.interrupted = threading.Event()

    def write(self, batch, decode) -> Accounts:
        """Keep ``batch``."""
        self._before(batch)
        self.written.append(batch)
        return Accounts(messages=1)

    def close(self) -> None:
        """Nothing is open."""

    def interrupt(self) -> None:
        """Note that it was."""
        self.interrupted.set()


def threads() -> list[threading.Thread]:
    """The writers' threads that live."""
    return [thread for thread in threading.enumerate() if thread.name == "writer"]


def test_each_writes_its_own_in_order():
    """All batches are written when finish returns, each by its writer, in the order given."""
    writers = [FakeWriter(), FakeWriter()]
    batches = [Batch() for _ in range(50)]
    total = Accounts()
    with Lanes(writers, None, total.add) as lanes:
        for number, batch in enumerate(batches):
            lanes.put(number % 3 % 2, batch)
        lanes.finish()
        assert total.messages == 50
    assert writers[0].written == [batch for number, batch in enumerate(batches) if number % 3 % 2 == 0]
    assert writers[1].written == [batch for number, batch in enumerate(batches) if number % 3 % 2 == 1]
    assert not threads()


def test_one_that_waits_holds_up_no_other():
    """While one writer waits the other goes on, and no more than a few batches wait for either."""
    go_on = threading.Event()
    slow, fast = FakeWriter(lambda _: go_on.wait(30)), FakeWriter()
    with Lanes([slow, fast], None, lambda _: None) as lanes:
        for _ in range(WAITING):
            lanes.put(0, Batch())
        for _ in range(20):
            lanes.put(1, Batch())
        assert not slow.written
        go_on.set()
        lanes.finish()
    assert (len(slow.written), len(fast.written)) == (WAITING, 20)


def test_a_failure_is_raised_and_ends_all():
    """What goes wrong with one writer is raised where batches are given, and the other's thread ends too."""

    def fail(_):
        raise ZeroDivisionError("defect")

    def give(lanes):
        lanes.put(0, Batch())
        while True:
            lanes.put(1, Batch())

    with Lanes([FakeWriter(fail), FakeWriter()], None, lambda _: None) as lanes:
        with pytest.raises(ZeroDivisionError, match="defect"):
            give(lanes)
        with pytest.raises(ZeroDivisionError, match="defect"):
            lanes.finish()
    assert not threads()


def test_refused_connections_are_tried_again():
    """A database that is away for a moment costs nothing."""
    away = [psycopg.OperationalError("away")]

    def once(_):
        if away:
            raise away.pop()

    writer = FakeWriter(once)
    with Lanes([writer], None, lambda _: None) as lanes:
        lanes.put(0, Batch())
        lanes.finish()
    assert len(writer.written) == 1


def test_broken_off_while_the_database_is_away():
    """Threads end at once when a load is broken off, also those that wait for the database."""
    tried = threading.Event()

    def away(_):
        tried.set()
        raise psycopg.OperationalError("away")

    with Lanes([FakeWriter(away), FakeWriter()], None, lambda _: None) as lanes:
        lanes.put(0, Batch())
        assert tried.wait(30)
    assert not threads()


def test_broken_off_while_the_database_does_not_answer():
    """A statement that goes on and on is interrupted when the load is broken off."""
    started = threading.Event()

    def hang(_):
        started.set()
        assert writer.interrupted.wait(30)
        raise psycopg.OperationalError("interrupted")

    writer = FakeWriter(hang)
    with Lanes([writer], None, lambda _: None) as lanes:
        lanes.put(0, Batch())
        assert started.wait(30)
    assert not threads()
