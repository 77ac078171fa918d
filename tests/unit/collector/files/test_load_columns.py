"""Columns decoded at once have the same results as their rows decoded one by one."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.files import batches, opener
from collector.files.batches import WriterAssignment, row_batches
from collector.files.columns import cells, time_columns
from collector.files.columns.decoder import ColumnDecoder
from collector.files.file_sensors import FileSensors
from collector.files.layout import Layout
from collector.files.options import TextOptions
from collector.files.row_decoder import RowDecoder
from collector.files.table_file import Chunk
from collector.message import Reason
from collector.registry import sensors_file
from collector.store.batch import POSTGRES_EPOCH, ROW, Accounts, Batch

RECEIVED = 1_750_000_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REGISTRY = sensors_file.parse(
    json.dumps(
        {
            "subscribe": ["#"],
            "types": {
                "a": {
                    "quantities": {
                        "x": {"unit": "1", "interval_seconds": 1},
                        "on": {"unit": "1", "interval_seconds": 1, "kind": "boolean"},
                        "heat": {"unit": "Cel", "sent_unit": "[degF]", "interval_seconds": 1},
                        "door": {"unit": "1", "interval_seconds": 1, "states": {"open": 1, "Closed": 0, "7": 70}},
                    }
                },
                "b": {"quantities": {"x": {"unit": "1", "interval_seconds": 1}}},
            },
            "sensors": [
                {"sensor_id": "a", "type": "a", "site": "s", "area": "a", "topic": "a", "timezone": "Europe/Athens"},
                {"sensor_id": "b", "type": "b", "site": "s", "area": "a", "topic": "b", "device": "bee"},
                {"sensor_id": "7", "type": "b", "site": "s", "area": "a", "topic": "c", "timezone": "UTC"},
            ],
        }
    ).encode()
)
IDS = {("a", "x"): 1, ("a", "on"): 2, ("b", "x"): 3, ("7", "x"): 4, ("a", "heat"): 5, ("a", "door"): 6}
WIDE = Layout("time", "sensor", wide=(("on", "on"), ("x", "x")))
LONG = Layout("time", "sensor", quantity="quantity", value="value")


def decoder(
    layout: Layout,
    unit: str = "iso8601",
    zone: ZoneInfo | None = None,
    text_options: TextOptions = TextOptions(),  # noqa: B008 - immutable
) -> RowDecoder:
    """The row decoder of the registry above."""
    return RowDecoder(layout, FileSensors(REGISTRY.sensors, IDS, zone), unit, 300_000_000, text_options)


def rows_of(columns: dict[str, pa.Array]) -> Chunk:
    """A chunk as a file yields it."""
    count = len(next(iter(columns.values())))
    plain = tuple((name, cells.plain(column)) for name, column in columns.items())
    return Chunk(plain, np.arange(1, count + 1))


def compare(columns: dict[str, pa.Array], by: RowDecoder) -> Batch:
    """Assert that a chunk decoded by columns equals its rows decoded one by one; return it."""
    rows = rows_of(columns)
    assignment = WriterAssignment(1)
    decoded = [batch for _, batch in row_batches(rows, ColumnDecoder(by), "file", RECEIVED, assignment)]
    [batch] = decoded if len(rows.numbers) else [Batch()]
    expected = Batch.of(batch.messages, by.decode)
    assert vars(batch.accounts) == vars(expected.accounts)
    assert sorted(ROW.iter_unpack(batch.rows)) == sorted(ROW.iter_unpack(expected.rows))
    assert batch.quarantined == expected.quarantined
    assert sorted(batch.readings()) == sorted(expected.readings())
    return batch


def text(cell: str | bytes | None) -> bytes | None:
    """A cell as it is in a CSV file."""
    return cell.encode() if isinstance(cell, str) else cell or None


NUMBERS = st.one_of(
    st.floats().map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
    st.integers(2**53 - 3, 2**53 + 3).map(str),
    st.sampled_from(
        [
            "",
            " ",
            " 5 ",
            "+5",
            "-0",
            ".5",
            "5.",
            "1e3",
            "1E-400",
            "1e999",
            "-1e999",
            "1e290",
            "nan",
            "-INF",
            "infinity",
            "1_0",
            "0x10",
            "1,5",
            "true",
            "False",
            "TRUE",
            "NA",
            " NaN ",
            "--",
            "-9999",
            "-9999.0",
            "1.021,75",
            "1,021.75",
            "1 021",
            "1,02",
            "1.02",
            "-0,4",
            "ON",
            " off ",
            "yes",
            "0",
            "1.0",
            "open",
            "OPEN",
            " Closed",
            "closed",
            "7",
            "t",
            "null",
            "NaN5",
            "5\x00",
            "١٢",
            "\xa05",
            "--5",
            "1e",
            "e5",
            ".",
        ]
    ),
    st.text(max_size=8),
    st.binary(max_size=6),
    st.none(),
)
INSTANTS = st.datetimes(datetime(1995, 1, 1), datetime(2026, 1, 1))  # noqa: DTZ001
ZONES = st.sampled_from(
    [
        "",
        "Z",
        " UTC",
        " UTX",
        "UTC",
        " +0000",
        "+00:00",
        "-05:30",
        "+02",
        "z",
        "+25:00",
        "+2",
        " +02:00",
        "+02:60",
        "-00:00",
    ]
)
TIMES = st.one_of(
    st.builds(lambda when, zone: f"{when.replace(microsecond=0)}{zone}", INSTANTS, ZONES),
    st.builds(lambda when, zone: f"{when.isoformat(timespec='milliseconds')}{zone}", INSTANTS, ZONES),
    st.builds(lambda when, zone: f"{when.isoformat(timespec='microseconds')}{zone}", INSTANTS, ZONES),
    st.builds(lambda when, part: f"{when:%Y-%m-%d %H:%M:%S}.{part}", INSTANTS, st.integers(0, 10**9)),
    st.builds(
        lambda y, m, d, h, n, s: f"{y:04}-{m:02}-{d:02} {h:02}:{n:02}:{s:02}Z",
        st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), st.integers(0, 25), st.integers(0, 60),
        st.integers(0, 60),
    ),
    st.sampled_from(
        [
            "", "2020-01-01", "20200101", "2020-01-01T00", "2020-01-01 00:00", "2020-W01-1",
            "2020-01-01T00:00:00.", "now", "2020-03-29 03:30:00", "2020-10-25 03:30:00",
            "2020-10-25 03:30:00+02:00", "2020-01-01x00:00:00", "9999-12-31 23:59:59", " 2020-01-01 00:00:00 ",
            "2020-01-01 00:00:00,5", "2020-01-01T00:00:00.123456789Z", "2020-02-30 00:00:00",
        ]
    ),
    st.binary(max_size=25),
    st.none(),
)  # fmt: skip
SENSORS = st.sampled_from(["a", "b", "bee", "7", " a ", "unknown", "", None, b"\xff"])


@settings(deadline=None)
@given(st.lists(st.tuples(TIMES, SENSORS, NUMBERS, NUMBERS), max_size=12))
@example([("2020-01-01 00:00:00Z", "a", "true", "5"), ("2020-01-01 00:00:01Z", "a", b"\xff", b"\xff")])
def test_wide_text_is_as_row_by_row(rows):
    """Any text in a wide CSV file has the same readings, reasons and accounts as its rows one by one."""
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    names = ("time", "sensor", "on", "x")
    compare({n: pa.array(map(text, c), pa.binary()) for n, c in zip(names, columns, strict=True)}, decoder(WIDE))


@settings(deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12),
    st.sampled_from(
        [
            TextOptions(decimal=","),
            TextOptions(decimal="."),
            TextOptions(thousands=","),
            TextOptions(thousands=" ", missing=("-9999", "1,02")),
            TextOptions(missing=("-9999", "open", "x")),
        ]
    ),
)
def test_marks_and_missing_values_are_as_row_by_row(rows, options):
    """Decimal marks, groups of thousands and markers of missing values give the same as row by row."""
    time = pa.array([RECEIVED] * len(rows), pa.timestamp("us", "UTC"))
    columns = {"time": time}
    columns |= {name: pa.array([text(row[place]) for row in rows], pa.binary()) for place, name in enumerate("xd")}
    compare(columns, decoder(Layout("time", None, wide=(("x", "x"), ("door", "d"))), text_options=options))


FORMATS = ["%d.%m.%Y %H:%M:%S", "%m/%d/%y %I:%M:%S %p", "%Y%m%dT%H%M", "%d/%m/%Y %H:%M:%S.%f", "%d %b %Y %H:%M"]


@settings(deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(
        st.one_of(
            st.tuples(INSTANTS, st.sampled_from(FORMATS)).map(lambda pair: pair[0].strftime(pair[1])),
            st.from_regex(r"[0-3][0-9]\.[01][0-9]\.[0-9]{4} [0-2][0-9]:[0-6][0-9]:[0-6][0-9]", fullmatch=True),
            st.from_regex(r"[01][0-9]/[0-3][0-9]/[0-9]{2} [01][0-9]:[0-6][0-9]:[0-6][0-9] [AaPp][Mm]", fullmatch=True),
            TIMES,
        ),
        max_size=12,
    ),
)
def test_time_formats_are_as_row_by_row(form, times):
    """Any text in a column with --time-format gives the same as row by row."""
    columns = {"time": pa.array(map(text, times), pa.binary()), "x": pa.array([1.5] * len(times), pa.float64())}
    options = TextOptions(time_formats=(form,))
    compare(columns, decoder(Layout("time", None, wide=(("x", "x"),)), zone=ZoneInfo("UTC"), text_options=options))


@pytest.mark.parametrize("form", FORMATS[:4])
def test_formats_of_numbers_take_the_fast_path(form):
    """A format of numbers with all digits is read by column."""
    columns = {"time": pa.array([datetime(2024, 3, 27, 14, 5).strftime(form).encode()]), "x": pa.array([1.0])}  # noqa: DTZ001
    by = decoder(
        Layout("time", None, wide=(("x", "x"),)), zone=ZoneInfo("UTC"), text_options=TextOptions(time_formats=(form,))
    )
    decoded = ColumnDecoder(by).decode(rows_of(columns), RECEIVED)
    assert not decoded.unsure.any()
    assert decoded.time.tolist() == [1_711_548_300_000_000]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["2024-03-27", "", None, "x"]), st.sampled_from(["14:05:00", "9:05", "", None])),
        min_size=1,
    )
)
def test_joined_times_are_as_row_by_row(rows):
    """Date and time in two columns give the same as row by row; a row that lacks one of them has no time."""
    columns = {name: pa.array([text(row[place]) for row in rows], pa.binary()) for place, name in enumerate("dt")}
    layout = Layout("d+t", None, wide=(("x", "x"),), time_parts=("d", "t"))
    batch = compare({**columns, "x": pa.array([1.0] * len(rows))}, decoder(layout, zone=ZoneInfo("UTC")))
    assert {time for (_, time, _), _ in batch.readings()} <= {1_711_548_300_000_000, 1_711_530_300_000_000}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(TIMES, SENSORS, st.sampled_from(["x", "on", "heat", "door", " x ", "y", "", None, b"\xfe"]), NUMBERS),
        max_size=12,
    )
)
def test_long_text_is_as_row_by_row(rows):
    """Any text in a long CSV file has the same results as its rows one by one."""
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    names = ("time", "sensor", "quantity", "value")
    compare({n: pa.array(map(text, c), pa.binary()) for n, c in zip(names, columns, strict=True)}, decoder(LONG))


@settings(deadline=None)
@given(
    st.sampled_from(["s", "ms", "us", "ns"]), st.lists(st.one_of(NUMBERS, st.integers(0, 2**61).map(str)), max_size=9)
)
def test_epoch_text_is_as_row_by_row(unit, times):
    """Any text in a column of epoch numbers has the same results as row by row."""
    columns = {"time": pa.array(map(text, times), pa.binary()), "x": pa.array([1.5] * len(times), pa.float64())}
    compare(columns, decoder(Layout("time", None, wide=(("x", "x"),)), unit))


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.floats()), min_size=1, max_size=9).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.one_of(st.none(), st.floats(width=32)), min_size=1, max_size=9).map(
        lambda v: pa.array(v, pa.float32())
    ),
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)), min_size=1).map(lambda v: pa.array(v, pa.uint64())),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=1).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1).map(
        lambda v: pa.array(v, pa.string()).dictionary_encode()
    ),
    st.lists(st.one_of(st.none(), st.decimals(-999, 999, places=2)), min_size=1).map(
        lambda v: pa.array(v, pa.decimal128(9, 2))
    ),
    st.lists(st.one_of(st.none(), st.lists(st.integers(0, 9))), min_size=1).map(
        lambda v: pa.array(v, pa.list_(pa.int64()))
    ),
)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_typed_values_are_as_row_by_row(amounts, truths):
    """Values of every Arrow type have the same results as row by row."""
    count = min(len(amounts), len(truths))
    time = pa.array([RECEIVED] * count, pa.timestamp("us", "UTC"))
    layout = Layout("time", None, wide=WIDE.wide)
    compare({"time": time, "x": amounts.slice(0, count), "on": truths.slice(0, count)}, decoder(layout))


INTEGERS = st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=9)


@settings(deadline=None)
@given(INTEGERS, st.sampled_from(["s", "ms", "us", "ns"]), st.sampled_from([None, "UTC", "America/New_York"]))
def test_timestamps_are_as_row_by_row(ticks, unit, zone):
    """Timestamps of every unit, with and without a zone, have the same results as row by row."""
    column = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, zone))
    layout = Layout("time", None, wide=(("x", "x"),))
    compare({"time": column, "x": pa.array([1.0] * len(ticks))}, decoder(layout))


@settings(deadline=None)
@given(
    st.lists(st.integers(946_684_800, 1_750_000_000), min_size=1, max_size=20),
    st.sampled_from(
        ["Europe/Athens", "Australia/Lord_Howe", "America/St_Johns", "Asia/Gaza", "UTC", "Africa/Casablanca"]
    ),
)
def test_local_times_are_as_row_by_row(seconds, zone):
    """Local times in any zone, skipped and repeated ones included, give the same as row by row."""
    column = pa.array(seconds, pa.int64()).cast(pa.timestamp("s"))
    layout = Layout("time", None, wide=(("x", "x"),))
    compare({"time": column, "x": pa.array([1.0] * len(seconds))}, decoder(layout, zone=ZoneInfo(zone)))


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2020-03-29 02:59:59", "2020-03-29 00:59:59"),
        ("2020-03-29 03:30:00", Reason.NONEXISTENT_TIME),
        ("2020-03-29 04:00:00", "2020-03-29 01:00:00"),
        ("2020-10-25 02:59:59", "2020-10-24 23:59:59"),
        ("2020-10-25 03:30:00", Reason.AMBIGUOUS_TIME),
        ("2020-10-25 03:30:00+02:00", "2020-10-25 01:30:00"),
        ("2020-10-25 04:00:00", "2020-10-25 02:00:00"),
    ],
)
def test_summer_time(local, utc):
    """A local time that does not exist, or that occurs twice and stands alone, is not guessed."""
    columns = {"time": pa.array([local.encode()]), "sensor": pa.array([b"a"]), "on": pa.array([None], pa.binary())}
    batch = compare(columns | {"x": pa.array([b"1"])}, decoder(WIDE))
    if isinstance(utc, Reason):
        assert [row.rejection.reason for row in batch.quarantined] == [utc]
    else:
        [((_, time, _), _)] = batch.readings()
        assert EPOCH + timedelta(microseconds=time) == datetime.fromisoformat(utc + "Z")


def minutes(*texts: str) -> np.ndarray:
    """Return local times (hours and minutes) in microseconds."""
    return np.array([(int(text[:2]) * 60 + int(text[3:])) * 60_000_000 for text in texts], np.int64)


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("rows", "before", "after", "expected"),
    [
        (["02:12", "02:42", "02:12", "02:42"], "01:57", "04:00", [0, 0, 1, 1]),
        (["02:50", "02:10"], "01:57", "04:00", [0, 1]),
        (["02:50", "02:10"], None, "04:00", [0, 1]),
        (["02:50", "02:10"], "04:00", "01:57", None),
        (["02:50", "02:10"], None, None, None),
        (["02:42", "02:12", "02:42", "02:12"], "04:00", "01:57", [1, 1, 0, 0]),
        (["02:12", "02:27", "02:42", "02:12", "02:27", "02:42"], None, None, [0, 0, 0, 1, 1, 1]),
        (["02:00", "02:00"], "01:00", "04:00", [0, 1]),
        (["02:00", "02:00", "02:10"], "01:00", "04:00", None),
        (["02:12", "02:27"], "01:57", "04:00", None),
        (["02:30"], "01:57", "04:00", None),
        (["02:50", "02:10", "02:50", "02:10"], "01:57", "04:00", None),
        (["02:50", "02:10"], "01:57", "01:58", None),
    ],
    ids=str,
)
def test_passes_of_a_repeated_hour(rows, before, after, expected):
    """The order of the rows gives the pass where there is one way to read it, ascending or descending."""
    around = [None if clock is None else int(minutes(clock)[0]) for clock in (before, after)]
    assert time_columns.passes(minutes(*rows), HOUR, *around) == expected


AUTUMN = [f"2020-10-25 {clock}:00" for clock in ("02:50", "03:05", "03:35", "03:50", "03:20", "03:50", "04:05")]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_passes_across_chunks(size):
    """Repeated times are resolved wherever chunks end; each row is in one chunk."""
    by = decoder(WIDE)
    columns = {
        "time": pa.array([cell.encode() for cell in AUTUMN for _ in "ab"]),
        "sensor": pa.array([b"a", b"7"] * len(AUTUMN)),
        "on": pa.array([None] * 2 * len(AUTUMN), pa.binary()),
        "x": pa.array([b"1"] * 2 * len(AUTUMN)),
    }
    whole = rows_of(columns)
    chunks = [whole.take(np.arange(len(whole.numbers)) // size == part) for part in range(14 // size + 1)]
    times, numbers = [], []
    for chunk, _, received in opener.resolved(chunks, ColumnDecoder(by), "file"):
        numbers += chunk.numbers.tolist()
        decoded = Batch.of([chunk.message(row, "file", received) for row in range(len(chunk.numbers))], by.decode)
        times += [time for (series, time, _), _ in decoded.readings() if series == 1]
    assert sorted(numbers) == list(range(1, 15))
    clocks = [(EPOCH + timedelta(microseconds=time)).strftime("%H:%M") for time in times]
    assert clocks == ["23:50", "00:05", "00:35", "00:50", "01:20", "01:50", "02:05"]


@pytest.mark.parametrize(
    ("row", "reason", "readings"),
    [
        ({"time": "2020-01-01 00:00:00", "sensor": "b", "x": "1"}, Reason.TIME_WITHOUT_ZONE, 1),
        ({"time": "yesterday", "sensor": "a", "x": "1", "on": "true"}, Reason.UNREADABLE_TIME, 2),
        ({"time": "", "sensor": "a", "x": "1"}, Reason.MISSING_TIME, 1),
        ({"time": "1999-12-31T23:59:59Z", "sensor": "a", "x": "1"}, Reason.TIME_TOO_OLD, 1),
        ({"time": "2099-01-01T00:00:00Z", "sensor": "a", "x": "1"}, Reason.TIME_IN_FUTURE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "z", "x": "1"}, Reason.UNKNOWN_SENSOR, 0),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "on": "true"}, Reason.UNKNOWN_QUANTITY, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "x": "NAN"}, Reason.NOT_FINITE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "x": "1e999"}, Reason.NOT_FINITE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "x": "9007199254740993"}, Reason.NOT_EXACT, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "x": "wet"}, Reason.WRONG_TYPE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "b", "x": "true"}, Reason.WRONG_TYPE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "a", "on": "2"}, Reason.WRONG_TYPE, 1),
        ({"time": "2020-01-01T00:00:00Z", "sensor": "a", "on": "maybe"}, Reason.WRONG_TYPE, 1),
    ],
)
def test_reason(row, reason, readings):
    """A row is rejected for the same reason as a live message."""
    columns = {name: pa.array([text(row.get(name))], pa.binary()) for name in ("time", "sensor", "on", "x")}
    batch = compare(columns, decoder(WIDE))
    assert [(rejected.rejection.reason, rejected.rejection.readings) for rejected in batch.quarantined] == [
        (reason, readings)
    ]
    assert batch.quarantined[0].message.topic == "file:1"
    assert json.loads(batch.quarantined[0].message.payload)["x"] == (row.get("x") or None)


@pytest.mark.parametrize(
    ("quantity", "cell", "value"),
    [
        ("heat", "70.7", 21.5),
        ("door", "open", 1.0),
        ("door", "closed", 0.0),
        ("door", "7", 70.0),
        ("door", "8", 8.0),
        ("on", "ON", 1.0),
        ("on", "off", 0.0),
        ("on", "1", 1.0),
        ("on", "yes", 1.0),
    ],
)
def test_cells_follow_the_rule_of_messages(quantity, cell, value):
    """sent_unit, states, and the texts of booleans apply to the cells of a file as to the values of a message."""
    columns = {
        "time": pa.array([b"2020-01-01T00:00:00Z"]),
        "sensor": pa.array([b"a"]),
        "quantity": pa.array([quantity.encode()]),
        "value": pa.array([cell.encode()]),
    }
    decoded = ColumnDecoder(decoder(LONG)).decode(rows_of(columns), RECEIVED)
    assert not decoded.unsure.any()
    [((_, _, stored), _)] = compare(columns, decoder(LONG)).readings()
    assert stored == pytest.approx(value, rel=1e-15)


@settings(deadline=None)
@given(st.sampled_from(["heat", "door"]), VALUES)
def test_typed_values_of_converted_series_are_as_row_by_row(quantity, values):
    """Values of every Arrow type in series with states or a sent_unit give the same as row by row."""
    time = pa.array([RECEIVED] * len(values), pa.timestamp("us", "UTC"))
    compare({"time": time, "v": values}, decoder(Layout("time", None, wide=((quantity, "v"),))))


def test_row_without_values_is_ignored():
    """A row of empty cells has no reading and is no error."""
    columns = {name: pa.array([None], pa.binary()) for name in ("time", "sensor", "on", "x")}
    assert compare(columns, decoder(WIDE)).accounts.ignored == 1


def test_days_are_divided():
    """Rows of more days than one transaction may touch become several batches that have each row once."""
    days = [*range(500), *range(500)]
    time = pa.array([(18_000 + day) * 86_400_000_000 + row for row, day in enumerate(days)], pa.timestamp("us", "UTC"))
    columns = {"time": time, "x": pa.array([float(row) for row in range(1000)])}
    by = decoder(Layout("time", None, wide=(("x", "x"),)))
    divided = [
        batch for _, batch in row_batches(rows_of(columns), ColumnDecoder(by), "file", RECEIVED, WriterAssignment(1))
    ]
    values = [reading[2] for batch in divided for reading, _ in batch.readings()]
    assert sorted(values) == [float(row) for row in range(1000)]
    spans = [{reading[1] // 86_400_000_000 for reading, _ in batch.readings()} for batch in divided]
    assert max(map(len, spans)) == batches.MAXIMUM_DAYS


def test_rows_are_divided_by_sensor_and_day():
    """Each row is in one batch with all of its readings; all readings of a sensor and day have one writer."""
    count = 600
    hours = [row * 7 % 120 for row in range(count)]
    times = [f"2024-01-0{1 + hour // 24}T{hour % 24:02}:00:00Z" for hour in hours]
    odd = {n: cell for n in range(0, count, 7) for cell in [f" {times[n]}", "never", ""][n % 3 : n % 3 + 1]}
    columns = {
        "time": pa.array([odd.get(n, time) or None for n, time in enumerate(times)], pa.string()).cast(pa.binary()),
        "sensor": pa.array([(b"a", b"b", b"bee", b"7", b"unknown")[n % 5] for n in range(count)]),
        "on": pa.array([(b"true", None)[n % 2] for n in range(count)], pa.binary()),
        "x": pa.array([(str(n).encode(), b"much", None)[n % 11 % 3] for n in range(count)], pa.binary()),
    }
    rows, by = rows_of(columns), decoder(WIDE)
    rows.malformed.append((count + 1, "{", "half a row"))
    division = WriterAssignment(3)
    divided = [
        *row_batches(rows, ColumnDecoder(by), "file", RECEIVED, division),
        *row_batches(rows, ColumnDecoder(by), "file", RECEIVED, division),
    ]
    total = Accounts()
    ways: dict[tuple[str, int], set[int]] = {}
    for way, batch in divided:
        expected = Batch.of(batch.messages, by.decode)
        assert vars(batch.accounts) == vars(expected.accounts)
        assert sorted(batch.readings()) == sorted(expected.readings())
        total.add(batch.accounts)
        for (series_id, time, _), _ in batch.readings():
            sensor = {series: name for (name, _), series in IDS.items()}[series_id]
            ways.setdefault((sensor, time // 86_400_000_000), set()).add(way)
    assert total.messages == 2 * (count + 1)
    assert {len(way) for way in ways.values()} == {1}
    assert {next(iter(way)) for way in ways.values()} == {0, 1, 2}
    numbers = [message.topic for _, batch in divided for message in batch.messages]
    assert sorted(numbers) == sorted([f"file:{n}" for n in range(1, count + 2)] * 2)


def test_rows_are_in_key_order():
    """Rows are sorted by series and time, and each keeps the number of its row in the file."""
    columns = {
        "time": pa.array([3, 1, 2], pa.timestamp("s", "UTC")).cast(pa.int64()),
        "sensor": pa.array([b"b", b"b", b"7"]),
        "quantity": pa.array([b"x"] * 3),
        "value": pa.array([3.0, 1.0, 2.0]),
    }
    columns["time"] = pa.array([(1_600_000_000 + n) * 1_000_000 for n in (3, 1, 2)], pa.timestamp("us", "UTC"))
    batch = compare(columns, decoder(LONG))
    assert [(reading[0], reading[2], position) for reading, position in batch.readings()] == [
        (3, 1.0, 1), (3, 3.0, 0), (4, 2.0, 2),
    ]  # fmt: skip


def test_row_type_is_the_writers():
    """The array's bytes equal those of the struct for live messages."""
    row = np.zeros(1, batches.ROW_TYPE)
    row[0] = (4, 8, 123 - POSTGRES_EPOCH, 4, 7, 8, 1.5, 8, 99)
    assert row.tobytes() == ROW.pack(4, 8, 123 - POSTGRES_EPOCH, 4, 7, 8, 1.5, 8, 99)
