"""Group commit to the database: batches, limits, retries while the database is away, an orderly end."""

import threading
import time

import psycopg
import pytest
from fix_bad_input import NOW, TOPIC, probes, wide
from fix_collector import until

from collector.commands.database_target import DatabaseTarget
from collector.decode.decoder import Decoder
from collector.message import Message
from collector.store.batch import Accounts, Batch
from collector.store.group_commit import GroupCommit

IDS = {("p0", "temperature"): 1, ("p0", "humidity"): 2, ("p0", "open"): 3}
IDS |= {("p1", quantity): series_id + 3 for (_, quantity), series_id in IDS.items()}
DECODE = Decoder(probes(), IDS).decode


def message(number: int) -> Message:
    """Return a message with one reading."""
    return Message(TOPIC, wide(temperature=number), NOW, delivery=number)


class FakeWriter:
    """Records the batches; each write waits while :attr:`gate` is closed, and fails with :attr:`error` if it is set."""

    def __init__(self) -> None:
        self.written: list[Batch] = []
        self.attempts = 0
        self.closed = 0
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()

    def write(self, batch: Batch, _decode) -> Accounts:
        """Store ``batch``, or raise :attr:`error`."""
        self.attempts += 1
        self.writing.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.written.append(batch)
        accounts = Accounts(**vars(batch.accounts))
        accounts.stored = batch.row_count
        return accounts

    def interrupt(self) -> None:
        """Make a write that waits fail."""
        if not self.gate.is_set():
            self.error = psycopg.OperationalError("the connection was broken")
            self.gate.set()

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


class Running:
    """A group commit over a fake writer, and the batches it reported as committed."""

    def __init__(self, **more) -> None:
        self.writer = FakeWriter()
        self.committed: list[list[int]] = []
        """The deliveries of each batch."""
        self.target = DatabaseTarget(self.writer, DECODE)
        self.sink = GroupCommit(
            self.target,
            committed=lambda messages: self.committed.append([message.delivery for message in messages]),
            **{"max_messages": 10, "max_bytes": 1_000_000, **more},
        )

    def send(self, *numbers: int) -> None:
        """Add messages and wake the writer."""
        for number in numbers:
            self.sink.add(message(number))
        self.sink.notify()


@pytest.fixture
def start():
    """Return a function that starts a group commit; those left running are stopped."""
    running: list[Running] = []

    def starting(**more) -> Running:
        running.append(Running(**more))
        return running[-1]

    yield starting
    for started in running:
        started.writer.error = None
        started.writer.gate.set()
        started.sink.stop(10)


def test_no_timer_delays_a_message(start):
    """A single message is committed when it arrives, not at the next full second of the writer."""
    running = start()
    begun = time.monotonic()
    for number in range(20):
        running.send(number)
        until(lambda expected=number + 1: len(running.committed) == expected)
    assert time.monotonic() - begun < 10  # with a timer: 20 s


def test_group_commit(start):
    """All messages that gather while a batch is being written are the next batch, complete and in order."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    for number in range(2, 8):
        running.send(number)
    running.writer.gate.set()
    until(lambda: running.committed == [[1], [2, 3, 4, 5, 6, 7]])


def test_progress(start):
    """Progress counts the commits since it was last taken."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    assert running.sink.take_progress().counts == Accounts()
    running.send(2, 3)
    running.writer.gate.set()
    until(lambda: len(running.committed) == 2)
    progress = running.sink.take_progress()
    assert progress.counts == Accounts(messages=3, decoded=3, readings=3, stored=3)
    assert (progress.batches, progress.largest_batch) == (2, 2)
    assert running.sink.take_progress().batches == 0


def test_full_by_messages(start):
    """The sink is full at its limit of messages, and no longer when they are being written."""
    running = start(max_messages=3)
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    until(lambda: running.sink.waiting == 0)
    running.send(2, 3)
    assert not running.sink.is_full
    running.send(4)
    assert running.sink.is_full
    assert running.sink.waiting == 3
    running.writer.gate.set()
    until(lambda: not running.sink.is_full)


@pytest.mark.parametrize(
    "large",
    [
        Message(TOPIC, b"x" * 600, NOW),
        Message("t" * 600, b"x", NOW),
        Message(TOPIC, b"[" + b",".join([wide(temperature=1)] * 8) + b"]", NOW),
    ],
    ids=["payload", "topic", "rows"],
)
def test_full_by_bytes(start, large):
    """The sink is full at its limit of bytes, of payloads, topics or rows."""
    running = start(max_bytes=1_000, max_messages=1_000)
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    until(lambda: running.sink.waiting == 0)
    assert not running.sink.is_full
    running.sink.add(large)
    running.sink.add(large)
    assert running.sink.is_full


def test_failed_write_is_retried(start):
    """While writes fail the batch is retried, later messages wait, and nothing is reported as committed."""
    running = start()
    running.writer.error = psycopg.OperationalError("the database is away")
    running.send(1)
    until(lambda: running.writer.attempts >= 2)
    running.send(2)
    until(lambda: running.writer.attempts >= 3)
    assert running.committed == []
    assert running.sink.waiting == 1
    assert running.writer.closed >= 2  # each attempt has its own connection
    running.writer.error = None
    until(lambda: running.committed == [[1], [2]])


def test_unknown_errors_are_retried(start):
    """An unexpected error of the database is retried like a lost connection."""
    running = start()
    running.writer.error = psycopg.errors.InsufficientPrivilege("no")
    running.send(1)
    until(lambda: running.writer.attempts >= 2)
    assert running.committed == []
    running.writer.error = None
    until(lambda: running.committed == [[1]])


def test_stop_drains(start):
    """Stopping writes all pending messages, then ends the writer and closes its connection."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    running.sink.add(message(2))
    opener = threading.Timer(0.05, running.writer.gate.set)
    opener.start()
    assert running.sink.stop(20)
    opener.join()
    assert running.committed == [[1], [2]]
    assert running.writer.closed == 1


def test_stop_when_idle(start):
    """Stopping with nothing to write succeeds, and so does stopping again."""
    running = start()
    assert running.sink.stop(20)
    assert running.sink.stop(0)
    assert running.writer.written == []


def test_stop_while_the_database_stays_away(start):
    """Stopping while writes fail gives up after its time, returns False, and reports nothing as committed."""
    running = start()
    running.writer.error = psycopg.OperationalError("the database is away")
    running.send(1)
    until(lambda: running.writer.attempts >= 1)
    running.send(2)
    assert running.sink.stop(0.1) is False
    assert running.committed == []


def test_stop_while_the_database_hangs(start):
    """A write that hangs is interrupted when the time to stop is over."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    assert running.sink.stop(0.1) is False
    assert running.committed == []


def test_no_timer_delays_the_end(start):
    """The writer ends right after the last batch: it does not wait for more messages."""
    begun = time.monotonic()
    for _ in range(10):
        running = start()
        running.send(1)
        assert running.sink.stop(20)
    assert time.monotonic() - begun < 5  # with a timer: 10 s


def test_defect_in_the_writer_surfaces(start):
    """An error other than of the database ends the writer and is its ``failure``; nothing more is committed."""
    running = start()
    running.writer.error = ZeroDivisionError("a defect")
    running.send(1)
    until(lambda: running.sink.failure is not None)
    assert isinstance(running.sink.failure, ZeroDivisionError)
    running.send(2)
    assert running.sink.stop(5) is False
    assert running.committed == []
    assert running.writer.closed == 1


def test_defect_in_the_acknowledgement_surfaces(start):
    """An error in the ``committed`` callback is a ``failure`` too."""
    running = start()
    running.sink._committed = lambda messages: messages.no_such_member
    running.send(1)
    until(lambda: isinstance(running.sink.failure, AttributeError))


def test_decoder_is_replaced_between_messages(start):
    """A replaced decoder decodes the messages that are added from then on."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    running.target.decode = Decoder(probes("elsewhere"), IDS).decode
    running.send(2)
    running.writer.gate.set()
    until(lambda: len(running.committed) == 2)
    assert [batch.row_count for batch in running.writer.written] == [1, 0]


def test_before_each_batch():
    """``before_batch`` is called in the writer's thread, before the batch is written."""
    writer, calls = FakeWriter(), []
    sink = GroupCommit(
        DatabaseTarget(writer, DECODE),
        committed=lambda _: None,
        before_batch=lambda: calls.append((threading.current_thread().name, len(writer.written))),
        max_messages=10,
        max_bytes=1_000,
    )
    sink.add(message(1))
    sink.notify()
    until(lambda: writer.written)
    assert calls[0] == ("writer", 0)
    assert sink.stop(10)


def test_what_comes_before_a_batch_counts_as_a_write(start):
    """A step before a batch that hangs is visible like a write that hangs: readiness ends."""
    begun, go_on = threading.Event(), threading.Event()

    def before_batch() -> None:
        begun.set()
        go_on.wait(10)

    running = start(before_batch=before_batch)
    running.send(1)
    assert begun.wait(10)
    assert running.sink.writing_since is not None
    assert running.sink.uncommitted()[1] == running.sink._gathering.messages[0].received
    go_on.set()
