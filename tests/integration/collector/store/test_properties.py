"""Properties of the store for any messages, order and batches: same table, balanced accounts, exact means."""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file, sync
from collector.store.batch import Batch
from collector.store.writer import Writer

BEGIN = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
RECEIVED = int((BEGIN + timedelta(days=2)).timestamp() * 1e6)
REGISTRY = sensors_file.parse(
    json.dumps(
        {
            "subscribe": ["p/#"],
            "types": {"t": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
            "sensors": [
                {"sensor_id": name, "type": "t", "site": "s", "area": "a", "topic": f"p/{name}"} for name in ("a", "b")
            ],
        }
    ).encode()
)

# Few sensors, times and values, so that duplicates and conflicts are frequent.
reading = st.fixed_dictionaries(
    {"timestamp": st.integers(0, 40).map(lambda n: (BEGIN + timedelta(seconds=30 * n)).isoformat())},
    optional={"temperature": st.sampled_from([1, 2.5, -0.0, 0.0, 1e300, "x", None, math.nan]), "other": st.just(1)},
)
payload = st.one_of(
    reading.map(json.dumps),
    st.lists(reading, max_size=6).map(json.dumps),
    st.sampled_from(["", "{", "[]", "null", "\udcff"]),
).map(lambda text: text.encode("utf-8", "surrogateescape"))
message = st.builds(
    lambda name, body: Message(f"p/{name}", body, RECEIVED), st.sampled_from(["a", "b", "stranger"]), payload
)
PATTERN = sensors_file.parse(
    json.dumps(
        {
            "subscribe": ["p/#"],
            "types": {"t": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
            "sensors": [{"type": "t", "site": "s", "area": "a", "topic": "p/{sensor}", "discover": True}],
        }
    ).encode()
)
shown = st.builds(
    lambda name, body: Message(f"p/{name}", body, RECEIVED), st.sampled_from(["a", "b", "c d", "c-d", "é"]), payload
)
cuts = st.lists(st.integers(0, 25), max_size=5)


def start(database) -> tuple[Writer, Decoder]:
    """Return a writer on an emptied database, and the decoder for it."""
    with database.connect() as connection:
        connection.execute("delete from telemetry.reading")
        connection.execute("truncate telemetry.intake, telemetry.quarantine")
        if database.edition == "postgresql":
            connection.execute("truncate telemetry.rollup_1m, telemetry.rollup_1h, telemetry.rollup_1d")
        series = sync.synchronise(connection, REGISTRY).series_ids
    return Writer("test", "test"), Decoder(REGISTRY, series)


def write(writer: Writer, decoder: Decoder, messages: list[Message], at: list[int]) -> None:
    """Write ``messages`` in batches that end ``at`` these positions."""
    edges = sorted({0, len(messages), *(cut % (len(messages) + 1) for cut in at)})
    for begin, end in itertools.pairwise(edges):
        writer.write(Batch.of(messages[begin:end], decoder.decode), decoder.decode)


def table(database) -> list[tuple]:
    """Return all readings, in key order."""
    with database.connect() as connection:
        return connection.execute("select series_id, time, value from telemetry.reading order by 1, 2").fetchall()


EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@EXAMPLES
@given(
    st.lists(message, max_size=25), st.lists(st.integers(0, 25), max_size=5), st.lists(st.integers(0, 25), max_size=5)
)
def test_batch_sizes_do_not_matter(database, messages, first, second):
    """The same messages in other batches give the same readings and the same balanced accounts."""
    results = []
    for edges in (first, second):
        writer, decoder = start(database)
        write(writer, decoder, messages, edges)
        writer.close()
        with database.connect() as connection:
            accounts = connection.execute("select * from telemetry.accounting").fetchone()
            reasons = connection.execute(
                "select reason, topic, payload, readings from telemetry.quarantine order by 1, 2, 3, 4"
            ).fetchall()
        results.append((table(database), accounts, reasons))
        assert accounts[-1] is True
    assert results[0] == results[1]


@EXAMPLES
@given(st.lists(message, max_size=15), st.randoms(use_true_random=False), cuts)
def test_repetition_and_order_do_not_matter(database, messages, chance, at):
    """Messages without conflicts give the same table in any order and with any repetition."""
    writer, decoder = start(database)
    seen: dict[tuple[int, int], float] = {}
    consistent = []
    for message in messages:
        readings = [row for row, _ in Batch.of([message], decoder.decode).readings()]
        if all(seen.setdefault((series, time), value) == value for series, time, value in readings):
            consistent.append(message)
    write(writer, decoder, consistent, [])
    wanted = table(database)
    writer.close()
    shuffled = [*consistent, *consistent[::2]]
    chance.shuffle(shuffled)
    writer, decoder = start(database)
    write(writer, decoder, shuffled, at)
    writer.close()
    assert table(database) == wanted
    with database.connect() as connection:
        row = connection.execute("select stored, balanced from telemetry.accounting").fetchone()
        assert row == (len(wanted), True)


@EXAMPLES
@given(st.lists(shown, max_size=25), cuts, st.integers(1, 5))
def test_discovery_balances(database, messages, at, limit):
    """With sensors that are discovered meanwhile the accounts balance, and every reading has a series."""
    writer, _ = start(database)
    with database.connect() as connection:
        connection.execute("delete from telemetry.series")
        connection.execute("delete from telemetry.sensor")
        synchronised = sync.synchronise(connection, PATTERN)
    write(
        writer, Decoder(PATTERN, synchronised.series_ids, synchronised.discovered, max_discovered=limit), messages, at
    )
    writer.close()
    with database.connect() as connection:
        accounts = connection.execute("select balanced, messages from telemetry.accounting").fetchone()
        assert accounts == (True, len(messages))
        (sensors,) = connection.execute("select count(*) from telemetry.sensor").fetchone()
        assert sensors <= limit
        rows = connection.execute("select series_id from telemetry.reading").fetchall()
        known = connection.execute("select series_id from telemetry.series").fetchall()
    assert set(rows) == set(known)


@EXAMPLES
@given(st.lists(message, max_size=25), cuts)
def test_means_equal_brute_force(database, messages, at):
    """reading_1m, _1h and _1d equal means that are computed from the readings here."""
    writer, decoder = start(database)
    write(writer, decoder, messages, at)
    writer.close()
    database.refresh()
    rows = table(database)
    for level, width in (("1m", 60), ("1h", 3600), ("1d", 86400)):
        buckets: dict[tuple[int, int], list[float]] = {}
        for series, when, value in rows:
            buckets.setdefault((series, int(when.timestamp()) // width * width), []).append(value)
        with database.connect() as connection:
            means = connection.execute(
                "select series_id, extract(epoch from bucket)::bigint, mean, minimum, maximum, first_value, "
                f"last_value, sum_value, sample_count from telemetry.reading_{level} order by 1, 2"
            ).fetchall()
        assert means == [
            (
                *key,
                pytest.approx(math.fsum(values) / len(values)),
                min(values),
                max(values),
                values[0],
                values[-1],
                pytest.approx(math.fsum(values)),
                len(values),
            )
            for key, values in sorted(buckets.items())
        ]
