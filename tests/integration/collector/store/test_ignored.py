"""telemetry.ignored: written with the accounts, equal to them, bounded, and readable."""

from contextlib import closing

import pytest
from fix_bad_input import NOW, TOPIC, probes, wide

from collector.decode.decoder import Decoder
from collector.message import Decoded, IgnoredReason, Message, NoReadingError
from collector.registry import sync
from collector.store import ignored
from collector.store.batch import Batch, Decode
from collector.store.writer import Writer
from quality import contracts

ROWS = "select topic, reason, messages, value_count from telemetry.ignored order by 1, 2"

OLDER = "insert into telemetry.ignored values (now() - %s::interval, 'mqtt', 'a', 'null', 1, 0)"


def write(decode: Decode, *messages: Message, source: str = "mqtt") -> None:
    """Commit ``messages`` in one batch."""
    with closing(Writer(source, "test")) as writer:
        writer.write(Batch.of(messages, decode), decode)


def nothing(message: Message) -> Decoded:
    """Ignore every message."""
    raise NoReadingError(IgnoredReason.UNMAPPED_TEXT, "no number", {IgnoredReason.UNMAPPED_TEXT: 2})


@pytest.fixture
def decode(database) -> Decode:
    """Decode messages of two sensors."""
    with database.connect() as connection:
        return Decoder(probes(), sync.synchronise(connection, probes()).series_ids).decode


def test_ignored_messages_are_counted_by_topic_and_reason(database, decode):
    """Batches of an hour add up in one row per topic and reason, whose sum is that of the accounts."""
    write(decode, Message(TOPIC, b"", NOW), Message(TOPIC, wide(temperature=1), NOW), Message(TOPIC, b"[]", NOW))
    write(decode, Message(TOPIC, b"", NOW))
    with database.connect() as connection:
        rows = connection.execute(ROWS).fetchall()
        assert (TOPIC, "empty_payload", 2, 0) in rows
        accounts = connection.execute("select ignored from telemetry.accounting").fetchone()
    assert accounts == (sum(row[2] for row in rows),) == (3,)


def test_values_are_counted(database):
    """Values that are no readings are counted beside the message."""
    write(nothing, Message("a/b", b"x", NOW))
    with database.connect() as connection:
        assert connection.execute(ROWS).fetchall() == [("a/b", "unmapped_text", 1, 2)]


def test_nothing_is_counted_of_a_transaction_that_fails(database, decode):
    """Counts are written with the accounts or not at all."""
    with database.connect() as connection:
        connection.execute("alter table telemetry.intake add constraint broken check (source <> 'mqtt') not valid")
        with pytest.raises(Exception, match="broken"):
            write(decode, Message(TOPIC, b"", NOW))
        assert connection.execute(ROWS).fetchall() == []


def test_topics_of_an_hour_are_bounded(database, monkeypatch):
    """Topics above the limit share a row, also where another process wrote those before."""
    monkeypatch.setattr(ignored, "MAX_TOPICS", 3)
    for begin in (0, 2, 4):
        write(nothing, *(Message(f"t/{n}", b"x", NOW) for n in range(begin, begin + 2)))
    with database.connect() as connection:
        counts = {topic: messages for topic, _, messages, _ in connection.execute(ROWS)}
    assert counts == {"t/0": 1, "t/1": 1, "t/2": 1, "#": 3}


def test_any_topic_is_stored(database):
    """NUL characters and bytes that are no UTF-8 are escaped."""
    write(nothing, Message("a\0b\udcff", b"x", NOW))
    with database.connect() as connection:
        assert connection.execute(ROWS).fetchone()[0] == "a\\0b\\udcff"


def test_the_log_line_has_the_reasons(database):
    """A writer reports committed counts once."""
    writer = Writer("mqtt", "test")
    writer.write(Batch.of([Message("a", b"x", NOW)], nothing), nothing)
    assert writer.take_ignored() == {"unmapped_text": 3}
    assert writer.take_ignored() == {}
    writer.close()


def test_old_rows_are_purged(database):
    """Rows older than 90 days are deleted, and newer ones stay."""
    write(nothing, Message("a", b"x", NOW))
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.ignored values (now() - interval '91 days', 'mqtt', 'a', 'null', 1, 0)"
        )
        assert connection.execute("select telemetry.purge_ignored()").fetchone() == (1,)
        assert len(connection.execute(ROWS).fetchall()) == 1


def test_the_contract_finds_hours_without_reasons(database):
    """An hour whose accounts have more ignored messages than telemetry.ignored fails the check of the contract."""
    text = (contracts.BUNDLED / "intake.yml").read_text()
    query = text.split("qualifier: reconciliation of ignored\n      query: |\n")[1].split("  - failed_rows")[0]
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.ignored values (now() - interval '2 days', 'mqtt', 'a', 'null', 1, 0)"
        )
        write(nothing, Message("a", b"x", NOW))
        assert connection.execute(query).fetchall() == []
        connection.execute("delete from telemetry.ignored where reason = 'unmapped_text'")
        assert len(connection.execute(query).fetchall()) == 1
