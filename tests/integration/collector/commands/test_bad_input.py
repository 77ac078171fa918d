"""Bad input: quarantined and counted, without harm to other messages."""

import json
from dataclasses import dataclass

import psycopg
import pytest
from fix_bad_input import CASES, NOW, OTHER, TIME, TOPIC, Bad, probes, wide

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sync
from collector.store.batch import Accounts, Batch
from collector.store.writer import Writer


@dataclass
class Warehouse:
    """A writer to a real database, and its content."""

    writer: Writer
    decoder: Decoder
    connection: psycopg.Connection

    def write(self, *messages: Message) -> Accounts:
        """Commit ``messages`` in one batch."""
        return self.writer.write(Batch.of(messages, self.decoder.decode), self.decoder.decode)

    def readings(self, sensor: str = "p0") -> list[tuple]:
        """Return (quantity, value) of a sensor's readings in order of time."""
        return self.connection.execute(
            "select quantity, value from telemetry.readings where sensor_id = %s order by time, quantity", (sensor,)
        ).fetchall()

    def quarantine(self) -> list[tuple]:
        """Return (reason, readings, topic, payload) in order."""
        return self.connection.execute(
            "select reason, readings, topic, payload from telemetry.quarantine order by id"
        ).fetchall()

    def accounts(self) -> dict:
        """Return the row of the accounts and check that it balances."""
        cursor = self.connection.execute("select * from telemetry.accounting")
        account = dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
        assert account["balanced"]
        return account


@pytest.fixture
def warehouse(database):
    """Return a writer to an empty database with two sensors."""
    writer, registry = Writer("mqtt", "test"), probes()
    decoder = Decoder(registry, sync.synchronise(writer.connection(), registry).series_ids)
    with database.connect() as connection:
        yield Warehouse(writer, decoder, connection)
    writer.close()


def good(number: int, value: float = 20.0, topic: str = TOPIC) -> Message:
    """Return a message with one temperature, ``number`` seconds after 10 o'clock."""
    return Message(topic, wide(f"2026-03-01T10:00:{number:02}Z", temperature=value), NOW)


def stored_topic(case: Bad) -> str:
    """Return the case's topic as the database stores it."""
    return case.topic.replace("\0", r"\0").encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_message_between_good_ones(warehouse, case):
    """The messages before and after a bad one are stored; it is quarantined unchanged with its reason."""
    accounts = warehouse.write(good(1), good(1, 5, OTHER), case.message, good(2), good(2, 6, OTHER))
    assert warehouse.readings("p1") == [("temperature", 5.0), ("temperature", 6.0)]
    assert warehouse.readings()[:2] == [("temperature", 20.0), ("temperature", 20.0)]
    assert len(warehouse.readings()) == 2 + case.good
    expected = [] if case.reason is None else [(case.reason.value, case.held, stored_topic(case), case.payload)]
    assert warehouse.quarantine() == expected
    whole = case.reason is not None and case.held == 0
    assert accounts == Accounts(
        messages=5,
        decoded=4 + (case.held > 0),
        ignored=int(case.reason is None),
        quarantined_messages=int(whole),
        readings=4 + case.good + case.held,
        stored=4 + case.good,
        quarantined_readings=case.held,
    )
    assert warehouse.accounts()["messages"] == 5


def test_all_bad_input_at_once(warehouse):
    """Each bad message of one batch is quarantined for its own reason."""
    cases = [case for case in CASES if case.good == 0]
    warehouse.write(good(1), *(case.message for case in cases), good(2))
    assert len(warehouse.readings()) == 2
    held = [(case.reason.value, case.held) for case in cases if case.reason is not None]
    assert [row[:2] for row in warehouse.quarantine()] == held
    warehouse.accounts()


def test_large_message(warehouse):
    """A message of 1 MB with 19,000 readings is stored completely."""
    times = (f"2026-03-01T10:{n // 60_000:02}:{n // 1000 % 60:02}.{n % 1000:03}Z" for n in range(19_000))
    payload = json.dumps([{"timestamp": time, "temperature": n} for n, time in enumerate(times)]).encode()
    accounts = warehouse.write(Message(TOPIC, payload, NOW))
    assert accounts == Accounts(messages=1, decoded=1, readings=19_000, stored=19_000)
    assert len(warehouse.readings()) == 19_000


@pytest.mark.parametrize("value", [2.0**53, -(2.0**64), 9.9e289, 5e-324, -0.0, 0.1])
def test_values_are_stored_exactly(warehouse, value):
    """A double is stored bit by bit, whatever its size."""
    warehouse.write(good(1, value))
    assert warehouse.readings()[0][1].hex() == value.hex()


@pytest.mark.parametrize("value", [1e290, -1.7976931348623157e308])
def test_values_whose_sums_would_overflow(warehouse, value):
    """A value too large for means is quarantined, and other values are stored."""
    warehouse.write(good(1), good(2, value), good(3))
    assert len(warehouse.readings()) == 2
    assert [row[:2] for row in warehouse.quarantine()] == [("too_large", 1)]
    warehouse.accounts()


BATCHES = pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in one batch each"])


def write(warehouse: Warehouse, together: bool, *messages: Message) -> Accounts:  # noqa: FBT001
    """Write ``messages`` in one batch or each in its own."""
    if together:
        return warehouse.write(*messages)
    total = Accounts()
    for message in messages:
        total.add(warehouse.write(message))
    return total


@BATCHES
def test_duplicate(warehouse, together):
    """A repeated reading is counted as a duplicate and changes nothing."""
    accounts = write(warehouse, together, good(1), good(1), good(2), good(1))
    assert accounts == Accounts(messages=4, decoded=4, readings=4, stored=2, duplicate=2)
    assert warehouse.readings() == [("temperature", 20.0)] * 2
    assert warehouse.quarantine() == []
    assert warehouse.accounts()["duplicate"] == 2


@BATCHES
def test_conflicting_value(warehouse, together):
    """Another value for the same series and time is quarantined with its message; the first value stays."""
    second = good(1, 21)
    accounts = write(warehouse, together, good(1), second, good(1, 5, OTHER), good(1))
    assert accounts == Accounts(messages=4, decoded=4, readings=4, stored=2, duplicate=1, quarantined_readings=1)
    assert warehouse.readings() == [("temperature", 20.0)]
    assert warehouse.readings("p1") == [("temperature", 5.0)]
    assert warehouse.quarantine() == [("conflicting_value", 1, TOPIC, second.payload)]
    warehouse.accounts()


@BATCHES
def test_conflict_within_a_list(warehouse, together):
    """The readings of one message may be new, duplicates and conflicts."""
    items = [{"timestamp": "2026-03-01T10:00:01Z", "temperature": value} for value in (20, 21, 22, 20)]
    items.append({"timestamp": TIME, "temperature": 23, "humidity": "wet"})
    mixed = Message(TOPIC, json.dumps(items).encode(), NOW)
    accounts = write(warehouse, together, good(1), mixed)
    assert accounts == Accounts(messages=2, decoded=2, readings=7, stored=2, duplicate=2, quarantined_readings=3)
    assert sorted(row[:2] for row in warehouse.quarantine()) == [("conflicting_value", 2), ("wrong_type", 1)]
    assert {row[3] for row in warehouse.quarantine()} == {mixed.payload}
    warehouse.accounts()


def test_conflicts_over_many_days(warehouse):
    """Duplicates and conflicts are distinguished on each of several days, also at midnight."""
    days = [
        Message(TOPIC, wide(f"2026-02-{day:02}T{clock}Z", temperature=day), NOW)
        for day in range(1, 11)
        for clock in ("00:00:00", "23:59:59.999999")
    ]
    others = [
        message._replace(payload=message.payload.replace(b'"temperature": ', b'"temperature": 1')) for message in days
    ]
    assert warehouse.write(*days).stored == 20
    accounts = warehouse.write(*others, *days, good(1))
    assert (accounts.stored, accounts.duplicate, accounts.quarantined_readings) == (1, 20, 20)
    warehouse.accounts()


REFUSE = {
    "23514": "alter table telemetry.reading add constraint refused check (value <> 666)",
    "22003": """
        create function public.refuse() returns trigger language plpgsql as $$
        begin
            if new.value = 666 then
                raise exception 'value out of range' using errcode = '22003';
            end if;
            return new;
        end $$;
        create trigger refuse before insert on telemetry.reading for each row execute function public.refuse()
    """,
}


@pytest.mark.parametrize("state", list(REFUSE))
@pytest.mark.parametrize("place", [0, 3, 9])
def test_value_the_database_refuses(warehouse, state, place):
    """A value that only the database refuses quarantines its message, anywhere in the batch, and no other."""
    warehouse.connection.execute(REFUSE[state])
    messages = [good(number, number) for number in range(10)]
    bad = messages[place] = Message(TOPIC, wide("2026-03-01T11:00:00Z", temperature=666, humidity=50, open="x"), NOW)
    accounts = warehouse.write(*messages)
    assert accounts == Accounts(messages=10, decoded=10, readings=12, stored=9, quarantined_readings=3)
    assert [value for _, value in warehouse.readings()] == [float(n) for n in range(10) if n != place]
    assert sorted(warehouse.quarantine()) == [
        ("refused_by_database", 2, TOPIC, bad.payload),
        ("wrong_type", 1, TOPIC, bad.payload),
    ]
    warehouse.accounts()


def test_refusal_among_duplicates(warehouse):
    """A refused value is isolated also while a source repeats readings."""
    warehouse.connection.execute(REFUSE["22003"])
    warehouse.write(good(1), good(2))
    accounts = warehouse.write(good(1), good(3, 666), good(2, 21), good(4))
    assert accounts == Accounts(messages=4, decoded=4, readings=4, stored=1, duplicate=1, quarantined_readings=2)
    assert sorted(row[:2] for row in warehouse.quarantine()) == [("conflicting_value", 1), ("refused_by_database", 1)]
    warehouse.accounts()


def test_writes_go_on_after_a_refusal(warehouse):
    """After a refusal the next batch is stored normally."""
    warehouse.connection.execute(REFUSE["23514"])
    warehouse.write(good(1, 666))
    assert warehouse.write(good(2), good(3)) == Accounts(messages=2, decoded=2, readings=2, stored=2)
    warehouse.accounts()
