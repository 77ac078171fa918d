"""`collector load` into real databases."""

import gzip
import json
import os
import signal
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fix_collector import PROGRAM, until

from collector.commands import load
from collector.files.options import Form, TimeUnit
from collector.settings import CollectorSettings
from core.errors import DatabaseError, SettingError

BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "ambient_temperature.csv"


def registry_text() -> str:
    """Return a registry with two sensor types, of which one has a time zone and a switch."""
    number = {"unit": "1", "interval_seconds": 1}
    return json.dumps(
        {
            "subscribe": ["#"],
            "types": {
                "office": {"quantities": {"temperature": number, "on": {**number, "kind": "boolean"}}},
                "weather": {"quantities": {"temperature": number, "humidity": number}},
            },
            "sensors": [
                {"sensor_id": "office-1", "type": "office", "site": "s", "area": "a", "topic": "o", "timezone": "UTC"},
                {"sensor_id": "w1", "type": "weather", "site": "s", "area": "a", "topic": "w/1"},
                {"sensor_id": "w2", "type": "weather", "site": "s", "area": "a", "topic": "w/2", "device": "roof"},
            ],
        }
    )


@pytest.fixture
def settings(tmp_path) -> CollectorSettings:
    """Return settings with this registry."""
    path = tmp_path / "sensors.json"
    path.write_text(registry_text())
    return CollectorSettings(registry=path, client_id="test")


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    """Keep the log configuration: that of a load in this process would refer to a closed standard error."""
    monkeypatch.setattr("core.logs.configure", lambda: None)


@pytest.fixture
def run(database, settings):
    """Return a function that loads files like the command and returns the exit status."""

    def run(*paths, form=None, sensor=None, columns=(), timezone=None, time_unit=None, delimiter=None) -> int:
        return load.load(
            paths,
            form,
            sensor=sensor,
            columns=columns,
            timezone=timezone,
            time_unit=time_unit,
            delimiter=delimiter,
            settings=settings,
        )

    return run


def table(database) -> list[tuple]:
    """Return all readings with names, in order."""
    with database.connect() as connection:
        return connection.execute(
            "select sensor_id, quantity, time, value from telemetry.readings order by 1, 2, 3"
        ).fetchall()


def accounts(database) -> dict[str, object]:
    """Return the totals of the accounts and check that they balance."""
    with database.connect() as connection:
        cursor = connection.execute("select * from telemetry.accounting")
        account = dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))
    assert account["balanced"]
    return account


def reasons(database) -> dict[str, int]:
    """Return the number of quarantine rows per reason."""
    with database.connect() as connection:
        return dict(connection.execute("select reason, count(*) from telemetry.quarantine group by 1").fetchall())


def weather(rows: int = 100) -> pa.Table:
    """Return wide rows of two sensors, one per second."""
    return pa.table(
        {
            "timestamp": pa.array(
                [BEGIN + timedelta(seconds=row // 2) for row in range(rows)], pa.timestamp("us", "UTC")
            ),
            "sensor_id": ["w1" if row % 2 else "w2" for row in range(rows)],
            "temperature": [row / 4 for row in range(rows)],
            "humidity": [None if row % 10 == 0 else row / 8 for row in range(rows)],
        }
    )


def long(wide: pa.Table) -> pa.Table:
    """Return the same readings, one per row."""
    rows = [
        {"timestamp": row["timestamp"], "sensor_id": row["sensor_id"], "quantity": name, "value": row[name]}
        for row in wide.to_pylist()
        for name in ("temperature", "humidity")
    ]
    return pa.Table.from_pylist(rows, pa.schema([*(wide.schema.field(n) for n in ("timestamp", "sensor_id")),
                                                 ("quantity", pa.string()), ("value", pa.float64())]))  # fmt: skip


def write(path: Path, data: pa.Table) -> Path:
    """Write a table in the format of its file name."""
    if path.suffix == ".parquet":
        pq.write_table(data, path, row_group_size=64)
        return path
    lines = []
    if path.suffix in (".csv", ".gz"):
        lines.append(",".join(data.column_names))
        lines += [",".join("" if cell is None else str(cell) for cell in row.values()) for row in data.to_pylist()]
    else:
        lines += [
            json.dumps({name: cell for name, cell in row.items() if cell is not None}, default=datetime.isoformat)
            for row in data.to_pylist()
        ]
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def expected(data: pa.Table) -> list[tuple]:
    """Return the expected readings after loading wide ``data``."""
    return sorted(
        (row["sensor_id"], name, row["timestamp"], row[name])
        for row in data.to_pylist()
        for name in ("temperature", "humidity")
        if row[name] is not None
    )


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet", "a.ndjson"])
def test_every_format_gives_the_same_table(name, run, database, tmp_path):
    """CSV, compressed or not, Parquet and NDJSON with the same readings give the same table."""
    assert run(write(tmp_path / name, weather())) == 0
    assert table(database) == expected(weather())


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_long_files_give_the_same_table(name, run, database, tmp_path):
    """One reading per row gives the same table as one column per quantity; rows without a value are no readings."""
    assert run(write(tmp_path / name, long(weather()))) == 0
    assert table(database) == expected(weather())
    assert accounts(database)["ignored"] == 10


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".ndjson"])
def test_every_format_follows_the_registry(suffix, run, database, settings, tmp_path):
    """sent_unit, states and the texts of booleans give the same table from CSV, Parquet and NDJSON."""
    known = json.loads(registry_text())
    known["types"]["weather"]["quantities"] = {
        "temperature": {"unit": "Cel", "sent_unit": "[degF]", "interval_seconds": 60},
        "door": {"unit": "1", "states": {"open": 1, "closed": 0}, "interval_seconds": 60},
        "on": {"unit": "1", "kind": "boolean", "interval_seconds": 60},
    }
    settings.registry.write_text(json.dumps(known))
    rows = [("open", "ON"), ("closed", "off"), ("open", "on"), ("closed", "true"), ("closed", "yes")]
    data = pa.table(
        {
            "timestamp": [f"2024-03-27T14:0{row}:00Z" for row in range(5)],
            "temperature": [70.7] * 5,
            "door": [door for door, _ in rows],
            "on": [on for _, on in rows],
        }
    )
    assert run(write(tmp_path / f"a{suffix}", data), sensor="w1") == 0
    values: dict[str, list[float]] = {}
    for _, quantity, _, value in table(database):
        values.setdefault(quantity, []).append(value)
    assert values["door"] == [1, 0, 1, 0, 0]
    assert values["on"] == [1, 0, 1, 1, 1]
    assert values["temperature"] == pytest.approx([21.5] * 5)
    assert reasons(database) == {}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.ndjson"])
def test_second_load_changes_nothing(name, run, database, tmp_path):
    """A second load has only duplicates, and the accounts balance."""
    path = write(tmp_path / name, weather())
    run(path)
    before = table(database)
    assert run(path) == 0
    assert table(database) == before
    account = accounts(database)
    assert (account["messages"], account["stored"], account["duplicate"]) == (200, 190, 190)


def test_small_transactions_give_the_same_table(run, database, tmp_path, monkeypatch):
    """The table does not depend on the size of transactions."""
    monkeypatch.setattr(load, "READINGS_PER_BATCH", 7)
    assert run(write(tmp_path / "a.parquet", weather()), write(tmp_path / "b.csv", weather())) == 0
    assert table(database) == expected(weather())
    assert accounts(database)["duplicate"] == 190


def test_quick_start(run, database, capsys):
    """The example of the quick start is loaded completely, as the summary reports."""
    assert run(EXAMPLE, sensor="office-1", columns=["temperature=value"]) == 0
    assert "1,000 rows, 1,000 readings: 1,000 stored, 0 duplicate, 0 quarantined" in capsys.readouterr().out
    first = ("office-1", "temperature", datetime(2013, 7, 4, tzinfo=UTC), 69.88083514)
    assert table(database)[0] == first
    assert len(table(database)) == 1000


def test_conflicting_value_keeps_the_first(run, database, tmp_path):
    """If a file has two values for a series and time, the first is stored and the second quarantined with its row."""
    path = tmp_path / "a.csv"
    path.write_text("time,temperature\n2024-01-01,1\n2024-01-02,5\n2024-01-01,2\n2024-01-01,1\n")
    assert run(path, sensor="office-1") == 2
    assert [row[3] for row in table(database)] == [1.0, 5.0]
    with database.connect() as connection:
        rows = connection.execute("select topic, reason, payload from telemetry.quarantine").fetchall()
    assert rows == [("a.csv:4", "conflicting_value", b'{"time":"2024-01-01","temperature":"2"}')]
    account = accounts(database)
    assert (account["stored"], account["duplicate"], account["quarantined_readings"]) == (2, 1, 1)


@pytest.mark.parametrize("connections", [1, 2, 3])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_conflicts_keep_the_first_over_several_connections(
    connections, name, run, settings, database, tmp_path, monkeypatch
):
    """However rows are divided, the first value is stored, others are quarantined, and the accounts balance."""
    monkeypatch.setattr(load, "READINGS_PER_BATCH", 30)
    settings.load_connections = connections
    first = weather(400)
    # Conflicts far apart, close together, and in cells that are decoded one by one.
    again = first.set_column(2, "temperature", pa.array([value + 1000 for value in first["temperature"].to_pylist()]))
    parts = [part for start in range(0, 400, 20) for part in (first.slice(start, 20), again.slice(start, 20))]
    data = pa.concat_tables([*parts, again])
    if name == "a.csv":
        times = [f"{' ' * (row % 3 == 0)}{when.isoformat()}" for row, when in enumerate(data["timestamp"].to_pylist())]
        data = data.set_column(0, "timestamp", pa.array(times))
    assert run(write(tmp_path / name, data)) == 2
    assert table(database) == expected(first)
    account = accounts(database)
    assert reasons(database) == {"conflicting_value": 800}
    assert (account["messages"], account["stored"], account["duplicate"], account["quarantined_readings"]) == (
        1200, 760, 720, 800,
    )  # fmt: skip


BAD = """time,sensor_id,temperature,humidity
2024-01-01T00:00:00Z,w1,20,50
2024-01-01 00:00:01,w1,20,50
never,w1,20,50
,w1,20,
1999-01-01T00:00:00Z,w1,20,
2999-01-01T00:00:00Z,w1,20,
2024-01-01T00:00:02Z,w9,20,50
2024-01-01T00:00:03Z,w1,warm,50
2024-01-01T00:00:04Z,w1,NAN,50
2024-01-01T00:00:05Z,w1,9007199254740993,50
2024-01-01T00:00:06Z,office-1,20,50
2024-01-01T00:00:07Z,w1
2024-01-01T00:00:08Z,w1,,

2024-01-01T00:00:09Z,w1,21,51
"""


def test_bad_rows_are_quarantined_by_reason(run, database, tmp_path, capsys):
    """Each bad row is quarantined for its own reason, good ones are stored, and the exit status is 2."""
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    assert run(path) == 2
    assert reasons(database) == {
        "time_without_zone": 1,
        "unreadable_time": 1,
        "missing_time": 1,
        "time_too_old": 1,
        "time_in_future": 1,
        "unknown_sensor": 1,
        "wrong_type": 1,
        "not_finite": 1,
        "not_exact": 1,
        "unknown_quantity": 1,
        "malformed": 1,
    }
    account = accounts(database)
    assert (account["messages"], account["ignored"], account["stored"]) == (14, 1, 8)
    assert "collector quarantine list" in capsys.readouterr().out
    with database.connect() as connection:
        [(topic, payload)] = connection.execute(
            "select topic, payload from telemetry.quarantine where reason = 'malformed'"
        )
    assert (topic, payload) == ("bad.csv:13", b"2024-01-01T00:00:07Z,w1")


def test_unreadable_bytes_affect_their_row_only(run, database, tmp_path):
    """Bytes that are not UTF-8, NUL characters and an unclosed quotation mark affect only their rows."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'time,temperature\n2024-01-01,1\n2024-01-02,\xff\n2024-01-03,\0\n2024-01-04,4\n2024-01-05,"5\n')
    assert run(path, sensor="office-1") == 2
    assert [row[3] for row in table(database)] == [1.0, 4.0, 5.0]
    assert reasons(database) == {"wrong_type": 2}


def test_status_if_nothing_is_stored(run, database, tmp_path):
    """The exit status is 1 if all rows of one of the files are in quarantine."""
    (tmp_path / "a.csv").write_text("time,temperature\n2024-01-01,much\n")
    good = write(tmp_path / "b.csv", weather())
    assert run(tmp_path / "a.csv", sensor="office-1") == 1
    assert run(good) == 0
    assert reasons(database) == {"wrong_type": 1}


def test_timezone_option(run, database, tmp_path):
    """--timezone is the zone of times without one."""
    path = tmp_path / "a.csv"
    path.write_text("time,temperature\n2024-07-01 12:00:00,1\n")
    assert run(path, sensor="w1", timezone="Europe/Athens") == 0
    assert table(database)[0][2] == datetime(2024, 7, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.ndjson"])
def test_time_unit_option(name, run, database, tmp_path):
    """--time-unit is the unit of numeric times."""
    ticks = [1_700_000_000_123, 1_700_000_001_123]
    path = write(tmp_path / name, pa.table({"timestamp": ticks, "temperature": [1.0, 2.0]}))
    assert run(path, sensor="w1", time_unit=TimeUnit.MILLISECONDS) == 0
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert [row[2] for row in table(database)] == [epoch + timedelta(milliseconds=tick) for tick in ticks]


def test_nested_lines_are_live_messages(run, database, settings, tmp_path):
    """A line of NDJSON is decoded like the same message, in the format of its sensor."""
    known = json.loads(registry_text())
    known["types"]["weather"]["format"] = {"time": "/meta/at", "device": "/meta/who", "value": "/v", "quantity": "/q"}
    known["types"]["weather"]["quantities"]["humidity"]["pointer"] = "/data/rh"
    settings.registry.write_text(json.dumps(known))
    path = tmp_path / "a.ndjson"
    path.write_text(
        '{"meta": {"at": "2024-01-01T00:00:00Z", "who": "roof"}, "data": {"rh": 40}}\n'
        '{"meta": {"at": "2024-01-01T00:00:00Z", "who": "w1"}, "q": "temperature", "v": 3}\n'
        '{"meta": {"at": "2024-01-01T00:00:01Z", "who": "unknown"}, "q": "temperature", "v": 3}\n'
        '{"meta": {"at": "2024-01-01T00:00:01Z", "who": "w1"}, "q": "temper'
    )
    assert run(path) == 2
    instant = datetime(2024, 1, 1, tzinfo=UTC)
    assert table(database) == [("w1", "temperature", instant, 3.0), ("w2", "humidity", instant, 40.0)]
    assert reasons(database) == {"unknown_sensor": 1, "malformed": 1}
    assert accounts(database)["quarantined_messages"] == 2


def test_flat_lines_as_columns(run, database, tmp_path):
    """With --column the members of NDJSON lines are columns."""
    path = tmp_path / "a.ndjson"
    path.write_text('{"t": "2024-01-01T00:00:00Z", "v": 3}\n{"t": "2024-01-01T00:00:01Z", "v": "4"}\n{"t": 5}\n')
    assert run(path, sensor="w1", columns=["time=t", "temperature=v"]) == 0
    assert [row[3] for row in table(database)] == [3.0, 4.0]
    assert accounts(database)["ignored"] == 1


def test_other_files_are_loaded(run, database, tmp_path, capsys):
    """A missing, an empty and a truncated file and a directory give one error line each; other files are loaded."""
    good = [write(tmp_path / name, weather()) for name in ("a.csv", "z.parquet")]
    whole = write(tmp_path / "whole.parquet", weather()).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    bad = [tmp_path / name for name in ("missing.csv", "empty.csv", "folder.csv", "cut.parquet", "what.xlsx")]
    assert run(good[0], *bad, good[1]) == 1
    assert table(database) == expected(weather())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [str(path) for path in bad]
    for line, words in zip(lines, ("no such file", "empty", "directory", "truncated", "--format"), strict=True):
        assert words in line


def test_truncated_file_is_loaded_to_its_end(run, database, tmp_path, capsys):
    """A truncated compressed file is loaded up to its end, with an error; the complete file adds the rest."""
    data = weather(60_000)
    path = write(tmp_path / "a.csv.gz", data)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert run(path) == 1
    assert "truncated" in capsys.readouterr().err
    path.write_bytes(whole)
    assert run(path) == 0
    assert len(table(database)) == len(expected(data))
    accounts(database)


def test_values_the_database_refuses(run, database, tmp_path):
    """A row that the database refuses is quarantined alone."""
    with database.connect() as connection:
        connection.execute("alter table telemetry.reading add constraint odd check (value <> 13)")
    path = tmp_path / "a.csv"
    path.write_text("time,temperature\n" + "".join(f"2024-01-01 00:00:{row:02},{row}\n" for row in range(20)))
    assert run(path, sensor="office-1") == 2
    assert [row[3] for row in table(database)] == [float(row) for row in range(20) if row != 13]
    assert reasons(database) == {"refused_by_database": 1}
    accounts(database)


def test_years_of_days(run, database, tmp_path):
    """A file with more days than a transaction may touch is loaded completely, also with unordered rows."""
    times = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=(day * 79) % 250) for day in range(250)]
    data = pa.table({"time": pa.array(times, pa.timestamp("us", "UTC")), "temperature": [float(n) for n in range(250)]})
    path = write(tmp_path / "a.parquet", data)
    assert run(path, sensor="w1") == 0
    assert run(path, sensor="w1") == 0
    assert [row[2] for row in table(database)] == sorted(times)
    assert accounts(database)["duplicate"] == 250


def test_lost_connection(run, database, tmp_path, monkeypatch):
    """When the server drops the connection during a load, it continues with another connection."""
    monkeypatch.setattr(load, "READINGS_PER_BATCH", 50)

    @contextmanager
    def cutting(_):
        def report(rows, _):
            if rows < 100:
                with database.connect() as connection:
                    connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where datname = current_database() and pid <> pg_backend_pid()"
                    )

        yield report

    monkeypatch.setattr(load.progress, "display", cutting)
    assert run(write(tmp_path / "a.parquet", weather(400))) == 0
    assert table(database) == expected(weather(400))
    accounts(database)


def test_killed_load_is_completed_by_another(database, settings, tmp_path):
    """After SIGKILL all stored readings remain, and the same command completes the load."""
    path = write(tmp_path / "a.parquet", weather(100_000))
    command = [PROGRAM, "load", path]
    environment = {**os.environ, "COLLECTOR_REGISTRY": str(settings.registry), "COLLECTOR_CLIENT_ID": "test"}

    def stored() -> int:
        with database.connect() as connection:
            return connection.execute("select coalesce(sum(stored), 0)::int from telemetry.intake").fetchone()[0]

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        until(lambda: stored() > 0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 0 < stored() < 190_000
    assert accounts(database)["stored"] == len(table(database))
    again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    assert "0 quarantined" in again.stdout
    assert table(database) == expected(weather(100_000))
    accounts(database)


def test_wrong_options_change_nothing(run, database, tmp_path):
    """A sensor that the registry lacks is rejected before the database is used."""
    with pytest.raises(SettingError, match="--sensor unknown"):
        run(tmp_path / "a.csv", sensor="unknown")
    with database.connect() as connection:
        assert connection.execute("select count(*) from telemetry.sensor").fetchone() == (0,)


def test_unreachable_database(settings, tmp_path, monkeypatch):
    """If the database is unreachable at the start, the command ends with one message."""
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(DatabaseError, match="no connection to the database"):
        load.load(
            [write(tmp_path / "a.csv", weather())],
            Form.CSV,
            sensor=None,
            columns=(),
            timezone=None,
            time_unit=None,
            delimiter=None,
            settings=settings,
        )
