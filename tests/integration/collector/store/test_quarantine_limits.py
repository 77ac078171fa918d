"""The quarantine does not grow without limit: payloads per topic and day, and the age of open rows."""

import hashlib
from datetime import UTC, datetime

import pytest

from collector.message import Decoded, Message, Reason, Rejection, UndecodableError
from collector.store import quarantine
from collector.store.batch import Batch
from collector.store.superseded import microseconds
from collector.store.writer import Writer
from timescale.migrate import migrate

NOON = microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC))
BUDGET = 10_000
PAYLOAD = bytes(1000)


def refuse(message: Message) -> Decoded:
    """Reject a message: as a whole, or with two readings if its payload is text."""
    if message.payload[:1] == b"v":
        return Decoded([], [Rejection(Reason.WRONG_UNIT, "unit", 2)])
    raise UndecodableError(Reason.MALFORMED, "not JSON")


@pytest.fixture
def send(database):
    """Return a function that writes messages of a topic, received at noon or later, with the budget."""
    writers = []

    def write(topic: str, *payloads: bytes, source: str = "mqtt", hours: int = 0) -> None:
        writers.append(Writer(source, "test", payload_budget=BUDGET))
        messages = [
            Message(topic, payload, NOON + hours * 3_600_000_000 + number) for number, payload in enumerate(payloads)
        ]
        writers[-1].write(Batch.of(messages, refuse), refuse)

    yield write
    for writer in writers:
        writer.close()


def rows(database, columns: str) -> list[tuple]:
    """Return columns of the quarantine."""
    with database.connect() as connection:
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)
        return connection.execute(f"select {columns} from telemetry.quarantine order by id").fetchall()


def test_payloads_beyond_the_budget_are_counted_only(database, send):
    """Beyond its budget a topic has one row per hour and reason, with size, number and hash; others have theirs."""
    for _ in range(10):
        send("t", *[PAYLOAD] * 5)
    send("t", b"last")
    kept = rows(database, "octet_length(payload), repeats, omitted_bytes, encode(omitted_sha256, 'hex')")
    assert kept[:-1] == [(1000, 0, None, None)] * 8
    assert kept[-1] == (0, 42, 42_004, hashlib.sha256(b"last").hexdigest())
    send("t", PAYLOAD, hours=1)
    send("t", b"value", b"value")
    send("other", PAYLOAD)
    later = rows(database, "topic, octet_length(payload), repeats, readings, omitted_bytes")[9:]
    assert later == [("t", 0, 0, 0, 1000), ("t", 0, 1, 4, 10), ("other", 1000, 0, 0, None)]
    send("t", PAYLOAD, hours=24)
    assert rows(database, "octet_length(payload)")[-1] == (1000,)  # the budget of the next day


def test_invented_topics_have_no_budgets_without_limit(database, send):
    """Topics share the budgets of 1,024 hashes: twenty thousand invented ones do not have twenty thousand."""
    for part in range(10):
        send(f"part/{part}", b"")
    payload = bytes(4000)
    for part in range(4):
        batch = [Message(f"invented/{part}/{number}", payload, NOON + number) for number in range(5000)]
        writer = Writer("mqtt", "test", payload_budget=BUDGET)
        writer.write(Batch.of(batch, refuse), refuse)
        writer.close()
    with database.connect() as connection:
        (size, number) = connection.execute(
            "select sum(octet_length(payload)), count(*) from telemetry.quarantine"
        ).fetchone()
    assert size <= 1024 * BUDGET
    assert number <= 1024 * 4


@pytest.mark.parametrize("source", ["file", "archive", "replay"])
def test_the_operators_own_loads_have_no_budget(database, send, source):
    """Files, archives and replays are read by a person, who can replay each row."""
    send("t", *[bytes([65 + number]) * 1000 for number in range(20)], source=source)
    assert rows(database, "octet_length(payload)") == [(1000,)] * 20


def test_omitted_payloads_are_not_replayed(database, send):
    """A replay leaves rows without payload as they are."""
    send("t", *[PAYLOAD] * 12)
    writer = Writer("replay", "test")
    results = list(quarantine.replay(writer, lambda _: Decoded([(1, NOON, 1.0)], [])))
    writer.close()
    assert sum(result.messages for result in results) == 8
    assert len(rows(database, "id")) == 9
    with database.connect() as connection:
        (row_id,) = connection.execute("select max(id) from telemetry.quarantine where repeats > 0").fetchone()
        assert quarantine.get_row(connection, row_id)["omitted_bytes"] == 4000
        assert quarantine.list_open(connection, None, 10)[0][-1] == 4000


def test_open_rows_have_an_age_limit(database, send, monkeypatch):
    """Open rows older than TIMESCALE_QUARANTINE_DAYS are deleted and stay in the accounts; by default none is."""
    send("t", *[PAYLOAD] * 12)
    with database.connect() as connection:
        connection.execute(
            "update telemetry.quarantine set quarantined_at = now() - interval '40 days', last_received_at = null"
        )
        assert connection.execute("select telemetry.purge_quarantine()").fetchone() == (0,)
        monkeypatch.setenv("TIMESCALE_QUARANTINE_DAYS", "30")
        migrate()
        assert connection.execute("select telemetry.purge_quarantine()").fetchone() == (9,)
    assert rows(database, "id") == []
