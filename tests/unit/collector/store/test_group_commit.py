"""The pipeline: group commit, bounds, holding while the database is away, an orderly end."""

import threading
import time

import psycopg
import pytest
from fix_bad_input import NOW, TOPIC, probes, wide
from fix_collector import until

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.store.batch import Accounts, Batch
from collector.store.group_commit import Pipeline

IDS = {("p0", "temperature"): 1, ("p0", "humidity"): 2, ("p0", "open"): 3}
IDS |= {("p1", quantity): series_id + 3 for (_, quantity), series_id in IDS.items()}
DECODE = Decoder(probes(), IDS).decode


def message(number: int) -> Message:
    """Return a message with one reading."""
    return Message(TOPIC, wide(temperature=number), NOW, delivery=number)


class FakeWriter:
    """Keeps the batches it is given; each write waits while :attr:`gate` is closed and fails with :attr:`error`."""

    def __init__(self) -> None:
        self.written: list[Batch] = []
        self.tried = 0
        self.closed = 0
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()

    def write(self, batch: Batch, _decode) -> Accounts:
        """Store ``batch``, or raise what it was told."""
        self.tried += 1
        self.writing.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.written.append(batch)
        accounts = Accounts(**vars(batch.accounts))
        accounts.stored = batch.row_count
        return accounts

    def interrupt(self) -> None:
        """Let a write that waits fail."""
        if not self.gate.is_set():
            self.error = psycopg.OperationalError("the connection was broken")
            self.gate.set()

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class Running:
    """A pipeline over a fake writer, and the batches it called committed."""

    def __init__(self, **more) -> None:
        self.writer = FakeWriter()
        self.committed: list[Batch] = []
        self.pipeline = Pipeline(
            self.writer,
            DECODE,
            committed=self.committed.append,
            **{"max_messages": 10, "max_bytes": 1_000_000, **more},
        )

    def send(self, *numbers: int) -> None:
        """Add messages and wake the writer."""
        for number in numbers:
            self.pipeline.add(message(number))
        self.pipeline.notify()

    @property
    def deliveries(self) -> list[list[int]]:
        """The messages called committed, a list a batch."""
        return [[one.delivery for one in batch.messages] for batch in self.committed]


@pytest.fixture
def start():
    """Start pipelines; those left running are ended."""
    running: list[Running] = []

    def starting(**more) -> Running:
        running.append(Running(**more))
        return running[-1]

    yield starting
    for one in running:
        one.writer.error = None
        one.writer.gate.set()
        one.pipeline.stop(10)


def test_no_timer_delays_a_message(start):
    """A message that comes alone is committed when it comes, not at the writer's tick of a second."""
    running = start()
    begun = time.monotonic()
    for number in range(20):
        running.send(number)
        until(lambda expected=number + 1: len(running.committed) == expected)
    assert time.monotonic() - begun < 10  # by ticks: 20 s


def test_group_commit(start):
    """All that gathers while one batch is being written is the next batch, whole and in order."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    for number in range(2, 8):
        running.send(number)
    running.writer.gate.set()
    until(lambda: running.deliveries == [[1], [2, 3, 4, 5, 6, 7]])


def test_progress(start):
    """What is taken as progress is what has been committed since it was last taken."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    assert running.pipeline.take_progress().accounts == Accounts()
    running.send(2, 3)
    running.writer.gate.set()
    until(lambda: len(running.committed) == 2)
    progress = running.pipeline.take_progress()
    assert progress.accounts == Accounts(messages=3, decoded=3, readings=3, stored=3)
    assert (progress.batches, progress.largest) == (2, 2)
    assert running.pipeline.take_progress().batches == 0


def test_full_by_messages(start):
    """It is full with as many messages as may wait, and no longer when they are being written."""
    running = start(max_messages=3)
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    until(lambda: running.pipeline.waiting == 0)
    running.send(2, 3)
    assert not running.pipeline.full
    running.send(4)
    assert running.pipeline.full
    assert running.pipeline.waiting == 3
    running.writer.gate.set()
    until(lambda: not running.pipeline.full)


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
    """It is full with as many bytes as may wait, whether of payloads, topics or rows."""
    running = start(max_bytes=1_000, max_messages=1_000)
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    until(lambda: running.pipeline.waiting == 0)
    assert not running.pipeline.full
    running.pipeline.add(large)
    running.pipeline.add(large)
    assert running.pipeline.full


def test_failing_writer_holds(start):
    """While writing fails the batch is held and tried again, what follows waits, and nothing is called committed."""
    running = start()
    running.writer.error = psycopg.OperationalError("the database is away")
    running.send(1)
    until(lambda: running.writer.tried >= 2)
    running.send(2)
    until(lambda: running.writer.tried >= 3)
    assert running.committed == []
    assert running.pipeline.waiting == 1
    assert running.writer.closed >= 2  # each attempt has a connection of its own
    running.writer.error = None
    until(lambda: running.deliveries == [[1], [2]])


def test_unknown_errors_hold(start):
    """An error of the database that nobody foresaw holds the batch like a lost connection."""
    running = start()
    running.writer.error = psycopg.errors.InsufficientPrivilege("no")
    running.send(1)
    until(lambda: running.writer.tried >= 2)
    assert running.committed == []
    running.writer.error = None
    until(lambda: running.deliveries == [[1]])


def test_stop_drains(start):
    """Stopping writes what is being written and what waits, then ends the writer and closes its connection."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    running.pipeline.add(message(2))
    opener = threading.Timer(0.05, running.writer.gate.set)
    opener.start()
    assert running.pipeline.stop(20)
    opener.join()
    assert running.deliveries == [[1], [2]]
    assert running.writer.closed == 1


def test_stop_when_idle(start):
    """Stopping with nothing to write succeeds, and so does stopping again."""
    running = start()
    assert running.pipeline.stop(20)
    assert running.pipeline.stop(0)
    assert running.writer.written == []


def test_stop_while_the_database_stays_away(start):
    """Stopping while writing fails gives up after its time, says so, and calls nothing committed."""
    running = start()
    running.writer.error = psycopg.OperationalError("the database is away")
    running.send(1)
    until(lambda: running.writer.tried >= 1)
    running.send(2)
    assert running.pipeline.stop(0.1) is False
    assert running.committed == []


def test_stop_while_the_database_hangs(start):
    """A write that neither ends nor fails is broken off when the time to stop has run out."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    assert running.pipeline.stop(0.1) is False
    assert running.committed == []


def test_no_timer_delays_the_end(start):
    """Once the last batch is written the writer ends: it does not wait a tick for more to arrive."""
    begun = time.monotonic()
    for _ in range(10):
        running = start()
        running.send(1)
        assert running.pipeline.stop(20)
    assert time.monotonic() - begun < 5  # by ticks: 10 s


def test_defect_in_the_writer_surfaces(start):
    """What is no error of the database ends the writer and stands in ``failure``; nothing more is committed."""
    running = start()
    running.writer.error = ZeroDivisionError("a defect")
    running.send(1)
    until(lambda: running.pipeline.failure is not None)
    assert isinstance(running.pipeline.failure, ZeroDivisionError)
    running.send(2)
    assert running.pipeline.stop(5) is False
    assert running.committed == []
    assert running.writer.closed == 1


def test_defect_in_the_acknowledgement_surfaces(start):
    """An error of whoever is told of a commit stands in ``failure`` too."""
    running = start()
    running.pipeline._committed = lambda batch: batch.no_such_member
    running.send(1)
    until(lambda: isinstance(running.pipeline.failure, AttributeError))


def test_decoder_is_replaced_between_messages(start):
    """A decoder that is replaced decodes what is added from then on."""
    running = start()
    running.writer.gate.clear()
    running.send(1)
    assert running.writer.writing.wait(10)
    running.pipeline.decode = Decoder(probes("elsewhere"), IDS).decode
    running.send(2)
    running.writer.gate.set()
    until(lambda: len(running.committed) == 2)
    assert [batch.row_count for batch in running.committed] == [1, 0]


def test_before_each_batch():
    """What is to be done before each batch is done in the writer's thread, before the batch is written."""
    writer, seen = FakeWriter(), []
    pipeline = Pipeline(
        writer,
        DECODE,
        committed=lambda _: None,
        before_batch=lambda: seen.append((threading.current_thread().name, len(writer.written))),
        max_messages=10,
        max_bytes=1_000,
    )
    pipeline.add(message(1))
    pipeline.notify()
    until(lambda: writer.written)
    assert seen[0] == ("writer", 0)
    assert pipeline.stop(10)
