"""The spool of the archive: what was written is there again, whatever happened to the process or the disk."""

import os
from pathlib import Path

import pytest
from fix_collector import until

from collector.archive import spool as spools
from collector.archive.message_table import messages as rows
from collector.archive.spool import HOUR, ArchiveError, Segment, Spool, hours
from collector.archive.spool_sink import SpoolSink
from collector.message import Message

NOON = 1_772_366_400_000_000
"""2026-03-01 12:00 UTC, in microseconds since 1970."""
LARGE = 1_000_000_000


def message(number: int, received: int | None = None) -> Message:
    """Return a message that says its number."""
    return Message(f"plant/p{number % 3}", b"%d" % number, NOON + number if received is None else received, qos=1)


def held(segment: Segment) -> list[Message]:
    """Return the messages in ``segment``."""
    return [one for block in segment.blocks() for one in rows(as_table(block.batch))]


def as_table(batch):
    """Return one Arrow batch as a table."""
    import pyarrow as pa

    return pa.Table.from_batches([batch])


class Rig:
    """A spool in a directory, and the segments that it completed."""

    def __init__(self, directory: Path, max_bytes: int = LARGE) -> None:
        self.complete: list[Segment] = []
        self.spool = Spool(directory, max_bytes, self.complete.append)

    def restarted(self, hour: int = NOON // HOUR) -> "Rig":
        """Return the rig of a process that comes after this one was killed."""
        self.spool.release()
        rig = Rig(self.spool.directory)
        rig.spool.recover(hour)
        return rig

    def all(self) -> list[Message]:
        """Complete the open segment; return all messages of all segments."""
        self.spool.close()
        return [one for segment in self.complete for one in held(segment)]


@pytest.fixture
def rig(tmp_path):
    """An empty spool."""
    found = Rig(tmp_path / "spool")
    yield found
    found.spool.release()


def test_messages_come_back_as_they_were(rig):
    """Everything about a message but its delivery is kept, also in topics and payloads that no text could hold."""
    given = [
        Message("a/ü\0", bytes(range(256)), NOON, True, 7, 2),
        Message("", b"", NOON + 1, False, 0, 0),
        Message("b", b"x" * 3_000_000, NOON + 2),
    ]
    rig.spool.append(given)
    assert rig.all() == [one._replace(delivery=0) for one in given]


def test_topics_that_are_no_text(rig):
    """A topic that is not UTF-8 becomes what the quarantine shows of it, and its neighbours stay as they are."""
    rig.spool.append([message(1), message(2)._replace(topic=b"plant/\xff".decode("utf-8", "surrogateescape"))])
    assert [one.topic for one in rig.all()] == ["plant/p1", "plant/\\udcff"]


def test_cut_anywhere(rig):
    """Wherever a kill cuts off the last block, all before it is there, and the next start goes on after that."""
    rig.spool.append([message(1), message(2)])
    path = next(rig.spool.directory.glob("*.spool"))
    whole = path.stat().st_size
    rig.spool.append([message(3)])
    content = path.read_bytes()
    for cut in [*range(whole, whole + 40), *range(whole + 40, len(content), 37)]:
        path.write_bytes(content[:cut])
        after = rig.restarted()
        assert after.complete == []
        after.spool.append([message(4)])
        assert after.all() == [message(1), message(2), message(4)]
        after.spool.release()


@pytest.mark.parametrize("content", [b"", b"SWSP", b"\0" * 100])
def test_nothing_written_yet(rig, content):
    """A segment that a kill or a power cut left empty holds no message and hinders nothing."""
    rig.spool.append([message(1)])
    next(rig.spool.directory.glob("*.spool")).write_bytes(content)
    after = rig.restarted()
    after.spool.append([message(2)])
    assert after.all() == [message(2)]


def test_damage_in_the_middle(rig):
    """What the disk damaged costs that block alone, is told from a kill, and the segment is not written to again."""
    for number in range(4):
        rig.spool.append([message(number)])
    path = next(rig.spool.directory.glob("*.spool"))
    content = bytearray(path.read_bytes())
    place = content.index(b"BLCK", content.index(b"BLCK") + 1) + 100
    content[place] ^= 1
    path.write_bytes(content)
    after = rig.restarted()
    assert [segment.path for segment in after.complete] == [path]
    assert [one.payload for one in held(after.complete[0])] == [b"0", b"2", b"3"]
    assert [block.skipped > 0 for block in after.complete[0].blocks()] == [False, True, False]


def test_other_version(rig):
    """A segment of another version is left for that one, not taken for garbage."""
    rig.spool.append([message(1)])
    path = next(rig.spool.directory.glob("*.spool"))
    path.write_bytes(b"SWSPOOL9" + path.read_bytes()[8:])
    with pytest.raises(ArchiveError, match="another version"):
        rig.restarted()


def test_an_hour_a_segment(rig):
    """Each hour has a segment of its own, however its messages come together."""
    given = [message(n, NOON + n * HOUR // 2) for n in range(5)]
    for part in hours(given):
        rig.spool.append(part)
    assert [segment.hour for segment in rig.complete] == [NOON // HOUR, NOON // HOUR + 1]
    assert rig.all() == given
    assert rig.complete[0].name.startswith("date=2026-03-01/hour=12/20260301T120000000000Z-")


def test_size_ends_a_segment(tmp_path):
    """A segment that has grown to the limit is completed by the next write."""
    rig = Rig(tmp_path, max_bytes=3_000)
    for number in range(20):
        rig.spool.append([message(number)])
    assert 2 <= len(rig.complete) <= 10
    assert rig.all() == [message(number) for number in range(20)]
    rig.spool.release()


def test_silence_ends_an_hour(rig):
    """A segment of a past hour is completed without another message."""
    rig.spool.append([message(1)])
    rig.spool.close_before(NOON // HOUR)
    assert rig.complete == []
    rig.spool.close_before(NOON // HOUR + 1)
    assert len(rig.complete) == 1


def test_restarts_make_no_flood(rig):
    """A process that starts again within the hour goes on with its segment; later it completes it."""
    for number in range(5):
        rig.spool.append([message(number)])
        rig = rig.restarted()
    assert len(list(rig.spool.directory.glob("*.spool"))) == 1
    later = rig.restarted(NOON // HOUR + 1)
    assert [one.payload for one in held(later.complete[0])] == [b"0", b"1", b"2", b"3", b"4"]
    later.spool.release()


def test_one_at_a_time(rig):
    """A second process on the same spool is refused and told who is there."""
    with pytest.raises(ArchiveError, match=rf"another archiver \(process {os.getpid()}\)"):
        Spool(rig.spool.directory, LARGE, print)


def test_directory_that_cannot_be(tmp_path):
    """A spool where a file stands is refused with the settings to check."""
    (tmp_path / "a").touch()
    with pytest.raises(ArchiveError, match="ARCHIVE_SPOOL"):
        Spool(tmp_path / "a" / "b", LARGE, print)


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_disk_that_refuses(rig, monkeypatch, failing):
    """While writing or synchronising fails nothing is acknowledged; then all is written, once."""
    real, failures = getattr(os, failing), [3]

    def refuse(file, *rest):
        if failures[0] and failures.append(failures.pop() - 1) is None:
            if failing == "write":
                real(file, bytes(rest[0])[:20])  # part of it may get through
            raise OSError(28, "No space left on device")
        return real(file, *rest)

    acknowledged: list[Message] = []
    rig.spool.append([message(0)])
    monkeypatch.setattr(spools.os, failing, refuse)
    sink = SpoolSink(rig.spool, committed=acknowledged.extend, room=lambda: None, max_messages=10, max_bytes=10_000)
    for number in range(1, 4):
        sink.add(message(number))
    sink.notify()
    until(lambda: failures[0] <= 1)
    assert acknowledged == []
    until(lambda: acknowledged)
    monkeypatch.undo()
    assert sink.stop(10)
    assert acknowledged == [message(number) for number in range(1, 4)]
    assert rig.all() == [message(number) for number in range(4)]


def test_stopping_while_the_disk_refuses(rig, monkeypatch):
    """An end while the disk refuses says so and acknowledges nothing."""

    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spools.os, "fsync", refuse)
    acknowledged: list[Message] = []
    sink = SpoolSink(rig.spool, committed=acknowledged.extend, room=lambda: None, max_messages=10, max_bytes=10_000)
    sink.add(message(1))
    sink.notify()
    assert not sink.stop(0.3)
    assert (acknowledged, sink.failure) == ([], None)


def test_full(rig, monkeypatch):
    """The sink is full at its bounds of messages and of bytes, and says when there is room again."""
    monkeypatch.setattr(SpoolSink, "_run", lambda _: None)
    sink = SpoolSink(rig.spool, committed=lambda _: None, room=lambda: None, max_messages=3, max_bytes=100)
    sink.add(message(1))
    sink.add(message(2))
    assert not sink.full
    sink.add(message(3))
    assert sink.full
    large = SpoolSink(rig.spool, committed=lambda _: None, room=lambda: None, max_messages=3, max_bytes=100)
    large.add(message(1)._replace(payload=b"x" * 100))
    assert large.full


def test_a_defect_is_seen(rig, monkeypatch):
    """An error that is nobody's disk ends the sink with it, for the source to raise."""
    monkeypatch.setattr(Spool, "append", lambda *_: 1 / 0)
    sink = SpoolSink(rig.spool, committed=lambda _: None, room=lambda: None, max_messages=10, max_bytes=10_000)
    sink.add(message(1))
    sink.notify()
    until(lambda: sink.failure is not None)
    assert isinstance(sink.failure, ZeroDivisionError)
    assert not sink.stop(1)
