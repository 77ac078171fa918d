"""The spool of the archive: durable messages are recovered after any failure of the process or the disk."""

import os
from pathlib import Path

import pytest
from fix_collector import until

from collector.archive import spool as spool_module
from collector.archive.message_table import to_messages
from collector.archive.spool import HOUR, ArchiveError, Segment, Spool, split_by_hour
from collector.archive.spool_target import SpoolTarget
from collector.message import Message
from collector.store.group_commit import GroupCommit, Target

NOON = 1_772_366_400_000_000
"""2026-03-01 12:00 UTC, in microseconds since 1970."""
LARGE = 1_000_000_000


def message(number: int, received: int | None = None) -> Message:
    """Return a message with its number as payload."""
    return Message(f"plant/p{number % 3}", b"%d" % number, NOON + number if received is None else received, qos=1)


def messages_in(segment: Segment) -> list[Message]:
    """Return the messages in ``segment``."""
    return [stored for block in segment.blocks() for stored in to_messages(as_table(block.batch))]


def as_table(batch):
    """Return an Arrow batch as a table."""
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def group_commit(
    target: Target, committed=lambda _: None, max_messages: int = 10, max_bytes: int = 10_000
) -> GroupCommit:
    """Start a group commit to ``target``."""
    return GroupCommit(target, committed=committed, max_messages=max_messages, max_bytes=max_bytes)


class Rig:
    """A spool in a directory, and the segments that it completed."""

    def __init__(self, directory: Path, max_bytes: int = LARGE) -> None:
        self.complete: list[Segment] = []
        self.spool = Spool(directory, max_bytes, self.complete.append)

    def restarted(self, hour: int = NOON // HOUR) -> "Rig":
        """Return the rig of the next process, after this one was killed."""
        self.spool.release()
        rig = Rig(self.spool.directory)
        rig.spool.recover(hour)
        return rig

    def all(self) -> list[Message]:
        """Complete the open segment; return all messages of all segments."""
        self.spool.close()
        return [stored for segment in self.complete for stored in messages_in(segment)]


@pytest.fixture
def rig(tmp_path):
    """An empty spool."""
    rig = Rig(tmp_path / "spool")
    yield rig
    rig.spool.release()


def test_messages_are_stored_exactly(rig):
    """A message is stored with everything but its delivery, also with topics and payloads that are no text."""
    given = [
        Message("a/ü\0", bytes(range(256)), NOON, True, 7, 2),
        Message("", b"", NOON + 1, False, 0, 0),
        Message("b", b"x" * 3_000_000, NOON + 2),
    ]
    rig.spool.append(given)
    assert rig.all() == [sent._replace(delivery=0) for sent in given]


def test_topics_that_are_no_text(rig):
    """A topic that is not UTF-8 is stored with escapes, as in the quarantine; other topics are unchanged."""
    rig.spool.append([message(1), message(2)._replace(topic=b"plant/\xff".decode("utf-8", "surrogateescape"))])
    assert [stored.topic for stored in rig.all()] == ["plant/p1", "plant/\\udcff"]


def test_cut_anywhere(rig):
    """Wherever a kill cuts the last block, all blocks before it are read, and the next start continues after them."""
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
    """A segment that a kill or a power cut left empty has no messages and does no harm."""
    rig.spool.append([message(1)])
    next(rig.spool.directory.glob("*.spool")).write_bytes(content)
    after = rig.restarted()
    after.spool.append([message(2)])
    assert after.all() == [message(2)]


def test_damage_in_the_middle(rig):
    """A block that the disk damaged is skipped and distinguished from a kill; the segment is not continued."""
    for number in range(4):
        rig.spool.append([message(number)])
    path = next(rig.spool.directory.glob("*.spool"))
    content = bytearray(path.read_bytes())
    place = content.index(b"BLCK", content.index(b"BLCK") + 1) + 100
    content[place] ^= 1
    path.write_bytes(content)
    after = rig.restarted()
    assert [segment.path for segment in after.complete] == [path]
    assert [stored.payload for stored in messages_in(after.complete[0])] == [b"0", b"2", b"3"]
    assert [block.skipped > 0 for block in after.complete[0].blocks()] == [False, True, False]


def test_other_version(rig):
    """A segment of another version is an error, not garbage."""
    rig.spool.append([message(1)])
    path = next(rig.spool.directory.glob("*.spool"))
    path.write_bytes(b"SWSPOOL9" + path.read_bytes()[8:])
    with pytest.raises(ArchiveError, match="another version"):
        rig.restarted()


def test_one_segment_per_hour(rig):
    """Each hour has its own segment, however its messages are grouped."""
    given = [message(n, NOON + n * HOUR // 2) for n in range(5)]
    for part in split_by_hour(given):
        rig.spool.append(part)
    assert [segment.hour for segment in rig.complete] == [NOON // HOUR, NOON // HOUR + 1]
    assert rig.all() == given
    assert rig.complete[0].name.startswith("date=2026-03-01/hour=12/20260301T120000000000Z-")


def test_size_limit(tmp_path):
    """A segment that has reached the size limit is completed by the next write."""
    rig = Rig(tmp_path, max_bytes=3_000)
    for number in range(20):
        rig.spool.append([message(number)])
    assert 2 <= len(rig.complete) <= 10
    assert rig.all() == [message(number) for number in range(20)]
    rig.spool.release()


def test_past_hour_without_further_messages(rig):
    """A segment of a past hour is completed although no message follows."""
    rig.spool.append([message(1)])
    rig.spool.close_before(NOON // HOUR)
    assert rig.complete == []
    rig.spool.close_before(NOON // HOUR + 1)
    assert len(rig.complete) == 1


def test_restarts_continue_the_segment(rig):
    """A process that restarts within the hour continues its segment; after the hour it completes it."""
    for number in range(5):
        rig.spool.append([message(number)])
        rig = rig.restarted()
    assert len(list(rig.spool.directory.glob("*.spool"))) == 1
    later = rig.restarted(NOON // HOUR + 1)
    assert [stored.payload for stored in messages_in(later.complete[0])] == [b"0", b"1", b"2", b"3", b"4"]
    later.spool.release()


def test_spool_is_locked(rig):
    """A second process on the same spool is rejected with the process id of the first."""
    with pytest.raises(ArchiveError, match=rf"another archiver \(process {os.getpid()}\)"):
        Spool(rig.spool.directory, LARGE, print)


def test_unusable_directory(tmp_path):
    """A spool below a file is rejected with the settings to check."""
    (tmp_path / "a").touch()
    with pytest.raises(ArchiveError, match="ARCHIVE_SPOOL"):
        Spool(tmp_path / "a" / "b", LARGE, print)


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_failing_disk(rig, monkeypatch, failing):
    """While writing or synchronising fails nothing is acknowledged; afterwards all messages are written, once."""
    real, failures = getattr(os, failing), [3]

    def refuse(file, *rest):
        if failures[0] and failures.append(failures.pop() - 1) is None:
            if failing == "write":
                real(file, bytes(rest[0])[:20])  # part of it may be written
            raise OSError(28, "No space left on device")
        return real(file, *rest)

    acknowledged: list[Message] = []
    rig.spool.append([message(0)])
    monkeypatch.setattr(spool_module.os, failing, refuse)
    sink = group_commit(SpoolTarget(rig.spool), acknowledged.extend)
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


def test_stopping_with_a_failing_disk(rig, monkeypatch):
    """Stopping with a failing disk returns False and acknowledges nothing."""

    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spool_module.os, "fsync", refuse)
    acknowledged: list[Message] = []
    sink = group_commit(SpoolTarget(rig.spool), acknowledged.extend)
    sink.add(message(1))
    sink.notify()
    assert not sink.stop(0.3)
    assert (acknowledged, sink.failure) == ([], None)


def test_is_full(rig, monkeypatch):
    """The sink is full at its limit of messages and of bytes."""
    monkeypatch.setattr(GroupCommit, "_run", lambda _: None)
    sink = group_commit(SpoolTarget(rig.spool), max_messages=3, max_bytes=100)
    sink.add(message(1))
    sink.add(message(2))
    assert not sink.is_full
    sink.add(message(3))
    assert sink.is_full
    large = group_commit(SpoolTarget(rig.spool), max_messages=3, max_bytes=100)
    large.add(message(1)._replace(payload=b"x" * 100))
    assert large.is_full


def test_defect_surfaces(rig, monkeypatch):
    """An error other than of the disk ends the sink and is its failure, for the source to raise."""
    monkeypatch.setattr(Spool, "append", lambda *_: 1 / 0)
    sink = group_commit(SpoolTarget(rig.spool))
    sink.add(message(1))
    sink.notify()
    until(lambda: sink.failure is not None)
    assert isinstance(sink.failure, ZeroDivisionError)
    assert not sink.stop(1)
