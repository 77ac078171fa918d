"""Batches: every message and reading is counted once, and every row equals its reading."""

import json
import struct
from datetime import UTC, datetime

import pytest
from fix_bad_input import CASES, NOW, TIME, TOPIC, probes, wide
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.message import Decoded, Message, NoReadingError, Reason, Rejection, UndecodableError
from collector.store.batch import POSTGRES_EPOCH, ROW, Accounts, Batch

IDS = {(name, quantity): number for number, (name, quantity) in enumerate(
    ((name, quantity) for name in ("p0", "p1") for quantity in ("temperature", "humidity", "open")), start=1
)}  # fmt: skip
DECODE = Decoder(probes(), IDS).decode
SMALL = [case for case in CASES if len(case.payload) < 1_000]
AT = NOW - 30_000_000
"""TIME in microseconds since 1970."""


def good(*temperatures: float) -> Message:
    """Return a message with a list of temperatures of p0."""
    return Message(
        TOPIC, json.dumps([{"timestamp": TIME, "temperature": value} for value in temperatures]).encode(), NOW
    )


def decoded(message: Message) -> Decoded:
    """Return a decoded message, without readings if it as a whole is rejected."""
    try:
        return DECODE(message)
    except (NoReadingError, UndecodableError):
        return Decoded([], [])


MESSAGES = st.lists(
    st.one_of(
        st.sampled_from(SMALL).map(lambda case: case.message),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(lambda values: good(*values)),
    ),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_accounts_balance(messages):
    """Each message is decoded, ignored or quarantined, and each reading is a row or quarantined, whatever arrives."""
    batch = Batch.of(messages, DECODE)
    accounts = batch.accounts
    assert accounts.messages == len(batch.messages) == len(messages)
    assert accounts.stored == accounts.duplicate == 0  # only the database knows
    accounts.stored = batch.row_count
    assert accounts.balanced
    whole = [row for row in batch.quarantined if row.rejection.readings == 0]
    assert accounts.quarantined_messages == len(whole)
    assert accounts.quarantined_readings == sum(row.rejection.readings for row in batch.quarantined)


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_rows_are_the_readings(messages):
    """The rows are the readings of the messages, in order, each with the position of its message."""
    expected = [
        (reading, position) for position, message in enumerate(messages) for reading in decoded(message).readings
    ]
    assert list(Batch.of(messages, DECODE).readings()) == expected


def test_row_is_in_the_binary_copy_format():
    """A row is in PostgreSQL's binary COPY format: field count, length and value of each, times since 2000-01-01."""
    batch = Batch.of([good(21.5)._replace(received=NOW + 1_999)], DECODE)
    fields = struct.unpack(">hiqiiidiq", batch.rows)
    seconds = round((datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds())
    assert fields == (4, 8, seconds * 1_000_000, 4, 1, 8, 21.5, 8, NOW - POSTGRES_EPOCH)
    assert len(batch.rows) == ROW.size == 46


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_arrival_is_whole_seconds_from_the_first_reading(time, under_way):
    """The arrival is rounded by less than a second, towards the first reading, and equal for all readings."""
    message = good()._replace(received=time + under_way)
    batch = Batch.of([message], lambda _: Decoded([(1, time, 2.0), (2, time + 7, 3.0)], []))
    arrivals = {row[8] + POSTGRES_EPOCH - time for row in ROW.iter_unpack(batch.rows)}
    assert len(arrivals) == 1
    whole, rest = divmod(abs(arrivals.pop()), 1_000_000)
    assert (whole, rest) == (abs(under_way) // 1_000_000, 0)


def test_readings_before_2000():
    """Times before the epoch of PostgreSQL are stored."""
    batch = Batch.of([good()], lambda _: Decoded([(1, -1, 2.0), (1, POSTGRES_EPOCH - 1, 3.0)], []))
    assert [reading for reading, _ in batch.readings()] == [(1, -1, 2.0), (1, POSTGRES_EPOCH - 1, 3.0)]


def test_size_bytes():
    """The size counts payloads and topics, since either may be long."""
    batch = Batch.of([Message("t" * 60_000, b"x" * 100, NOW)] * 3, DECODE)
    assert batch.size_bytes >= 3 * 60_100


def test_accounts_add_up():
    """Accounts are added column by column."""
    total = Accounts(messages=1, decoded=1, readings=2, stored=2)
    total.add(
        Accounts(
            messages=2, ignored=1, quarantined_messages=1, readings=4, duplicate=1, replaced=1, quarantined_readings=2
        )
    )
    assert total == Accounts(3, 1, 1, 1, 6, 2, 1, 1, 2)
    assert total.balanced


@pytest.mark.parametrize("name", list(vars(Accounts())))
def test_unbalanced_accounts(name):
    """Accounts with an error of one in any column do not balance."""
    accounts = Accounts(6, 3, 2, 1, 7, 3, 2, 1, 1)
    assert accounts.balanced
    setattr(accounts, name, getattr(accounts, name) + 1)
    assert not accounts.balanced


def test_refuse():
    """A message that the database refuses is quarantined with all its readings, beside earlier rejections."""
    payload = b"[" + wide(temperature=1, humidity=2) + b"," + wide(temperature="x") + b"]"
    message = Message(TOPIC, payload, NOW, delivery=5)
    refused = Batch.of([message], DECODE).refuse(Rejection(Reason.REFUSED_BY_DATABASE, "no"))
    assert list(refused.messages) == [message]
    assert refused.row_count == 0
    assert {(row.rejection.reason, row.rejection.readings) for row in refused.quarantined} == {
        (Reason.WRONG_TYPE, 1),
        (Reason.REFUSED_BY_DATABASE, 2),
    }
    assert refused.accounts == Accounts(messages=1, decoded=1, readings=3, quarantined_readings=3)
    assert refused.accounts.balanced
