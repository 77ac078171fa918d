"""Files as other programs write them (``tests/cases/files.json``), loaded with the options that they need."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.commands import load, quarantine
from collector.files.options import TextOptions
from collector.settings import CollectorSettings

CASES = Path(__file__).parents[3] / "cases"
EXPECTED = {case["file"]: case["expected"] for case in json.loads((CASES / "files.json").read_text())["cases"]}
QUANTITIES = {
    "temperature": {"unit": "Cel", "interval_seconds": 60},
    "RH": {"unit": "%", "interval_seconds": 60},
    "door": {"unit": "1", "states": {"open": 1, "closed": 0}, "interval_seconds": 60},
    "on": {"unit": "1", "kind": "boolean", "interval_seconds": 60},
}


@pytest.fixture
def settings(tmp_path) -> CollectorSettings:
    """Return settings with a registry of one sensor."""
    path = tmp_path / "sensors.json"
    sensor = {"sensor_id": "s1", "type": "t", "site": "s", "area": "a", "topic": "s1"}
    registry = {"subscribe": ["#"], "types": {"t": {"quantities": QUANTITIES}}, "sensors": [sensor]}
    path.write_text(json.dumps(registry))
    return CollectorSettings(registry=path, client_id="test")


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    """Keep the log configuration: that of a load in this process would refer to a closed standard error."""
    monkeypatch.setattr("core.logs.configure", lambda: None)


@pytest.fixture
def run(database, settings):
    """Return a function that loads a case and returns the exit status."""

    def run(
        name: str | Path, *columns: str, sensor="s1", timezone="UTC", message=None, topic=None, dry_run=False, **text
    ) -> int:
        return load.load(
            [CASES / "files" / name],
            None,
            sensor=sensor,
            columns=columns,
            timezone=timezone,
            time_unit=None,
            delimiter=None,
            text=TextOptions(**text),
            message=message,
            topic=topic,
            dry_run=dry_run,
            settings=settings,
        )

    return run


def stored(database, quantity: str = "temperature") -> list[tuple[datetime, float]]:
    """Return the stored readings of a quantity."""
    with database.connect() as connection:
        statement = "select time, value from telemetry.readings where quantity = %s order by 1"
        return connection.execute(statement, (quantity,)).fetchall()


def reasons(database) -> dict[str, int]:
    """Return the number of quarantine rows per reason, and check that the accounts balance."""
    with database.connect() as connection:
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)
        return dict(connection.execute("select reason, count(*) from telemetry.quarantine group by 1").fetchall())


def expected(name: str) -> list[tuple[datetime, float]]:
    """Return the readings that files.json names for a case: time and value, up to the rounding of conversions."""
    lines = [line.split() for line in EXPECTED[name]]
    return [
        (datetime.fromisoformat(line[0]).astimezone(UTC), pytest.approx(float(line[1]), rel=1e-14)) for line in lines
    ]


@pytest.mark.parametrize(
    ("name", "columns", "options"),
    [
        ("csv_decimal_comma.csv", ["time=Zeit", "temperature=Temperatur"], {"decimal": ","}),
        ("csv_german_date.csv", ["time=Zeit", "temperature=Temperatur"], {"time_formats": ["%d.%m.%Y %H:%M:%S"]}),
        ("csv_date_and_time.csv", ["time=Date+Time", "temperature=Temp"], {}),
        (
            "csv_hobo.csv",
            ["time=Date Time, GMT-07:00", "temperature=Temp., °F (LGR S/N: 1)"],
            {
                "skip_lines": 1,
                "time_formats": ["%m/%d/%y %I:%M:%S %p"],
                "timezone": "-07:00",
                "units": ["temperature=[degF]"],
            },
        ),
        ("csv_comments.csv", [], {"comment": "#"}),
        ("csv_trailing_delim.csv", [], {}),
        ("nd_bom.ndjson", [], {}),
        ("nd_array.ndjson", [], {}),
    ],
)
def test_files_of_other_programs(name, columns, options, run, database):
    """With the options that it needs, the file gives the expected readings and nothing else."""
    assert run(name, *columns, **options) == 0
    assert stored(database) == expected(name)
    assert reasons(database) == {}


def test_hour_that_occurs_twice(run, database):
    """The order of the rows tells the two passes of the hour when clocks are set back."""
    assert run("csv_dst_autumn_irregular.csv", timezone="Europe/Berlin") == 0
    assert stored(database) == expected("csv_dst_autumn_irregular.csv")
    assert reasons(database) == {}


def test_time_that_does_not_exist(run, database):
    """A time in the hour that clocks skip is quarantined; the times after it are right."""
    assert run("csv_dst_spring.csv", timezone="Europe/Berlin") == 2
    assert stored(database) == expected("csv_dst_spring.csv")
    assert reasons(database) == {"nonexistent_time": 1}


def test_two_forms_of_time_in_one_column(run, database):
    """--time-format may stand several times; the first format that matches applies."""
    forms = ["%m/%d/%Y %I:%M:%S %p", "%m/%d/%y %H:%M"]
    assert run("csv_us_date.csv", "time=Date Time", "temperature=Temp", time_formats=forms) == 0
    assert stored(database) == [*expected("csv_us_date.csv"), (datetime(2024, 3, 27, 14, 10, tzinfo=UTC), 21.6)]


def test_other_times_without_the_option(run, database, capsys):
    """Without --time-format no row of other times is stored, the status is 1 and the message names the option."""
    assert run("csv_us_date.csv", "time=Date Time", "temperature=Temp") == 1
    assert "--time-format" in capsys.readouterr().err
    assert stored(database) == []


def test_four_header_lines(run, database):
    """TOA5 files have their header in line 2 and rows from line 5 on; NAN is not a finite number."""
    assert run("csv_toa5.csv", "time=TIMESTAMP", "temperature=AirTC_Avg", header_line=2, skip_lines=4) == 2
    assert stored(database) == expected("csv_toa5.csv")
    assert [value for _, value in stored(database, "RH")] == [40.1, 40.2]
    assert reasons(database) == {"not_finite": 1}


def test_states(run, database):
    """States and the texts of booleans are numbers."""
    assert run("csv_states.csv") == 0
    for line in EXPECTED["csv_states.csv"]:
        quantity, *values = line.split()
        assert [value for _, value in stored(database, quantity)] == list(map(float, values))


def test_sent_unit(run, database, settings):
    """The sent_unit of the registry is the unit of the numbers in a file."""
    known = json.loads(settings.registry.read_text())
    known["types"]["t"]["quantities"]["temperature"]["sent_unit"] = "[degF]"
    settings.registry.write_text(json.dumps(known))
    assert run("csv_sent_unit.csv") == 0
    [(time, value)] = expected("csv_sent_unit.csv")
    assert stored(database) == [(time, value)]


def test_markers_of_missing_values(run, database):
    """Markers of missing values are neither readings nor mistakes; --thousands reads grouped numbers."""
    assert run("csv_na_markers.csv", thousands=",") == 2
    assert [value for _, value in stored(database)] == [21.5, 1021.5, 21.6, 21.5]
    assert reasons(database) == {"wrong_type": 1}
    with database.connect() as connection:
        assert connection.execute("select ignored from telemetry.accounting").fetchone() == (9,)


def fleet(settings, **entry) -> None:
    """Add an entry to the registry that discovers the sensors of a topic."""
    known = json.loads(settings.registry.read_text())
    pattern = {"sensor_id": "{device}", "type": "t", "site": "s", "area": "a", "topic": "f/{sensor}", "discover": True}
    known["sensors"].append({**pattern, **entry})
    settings.registry.write_text(json.dumps(known))


def sensors(database) -> list[tuple[str, str, datetime, float]]:
    """Return sensor, quantity, time and value of the stored readings."""
    with database.connect() as connection:
        statement = "select sensor_id, quantity, time, value from telemetry.readings order by 3, 1, 2"
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("sensor", [None, "attic1"])
def test_history_of_a_discovered_sensor(run, database, settings, sensor):
    """A file is loaded into a sensor of a pattern; one that was not discovered yet is registered as by a message."""
    fleet(settings)
    name = "csv_fleet_history.csv"
    assert [run(name, sensor=sensor), run(name, sensor=sensor)] == [0, 0]
    time = datetime(2024, 3, 27, 14, 5, tzinfo=UTC)
    assert sensors(database) == [("attic1", "temperature", time, 21.5)]
    with database.connect() as connection:
        row = connection.execute("select topic, device, discovered from telemetry.sensor where discovered").fetchone()
        series = connection.execute("select quantity from telemetry.series where sensor_id = 'attic1'").fetchall()
    assert (row, series) == (("f/attic1", "attic1", True), [("temperature",)])
    assert reasons(database) == {}


def test_lines_of_a_discovered_sensor(run, database, settings, tmp_path):
    """Lines of NDJSON are loaded into sensors of a pattern too."""
    fleet(settings, sensor_id="room-{sensor}")
    path = tmp_path / "lines.ndjson"
    line = {"device_id": "attic1", "timestamp": "2024-03-27T14:05:00Z", "temperature": 21.5, "RH": 40}
    path.write_text(f"{json.dumps(line)}\n{json.dumps({**line, 'timestamp': '2024-03-27T14:06:00Z'})}\n")
    assert [run(path, sensor=None), run(path, sensor=None)] == [0, 0]
    assert [row[:2] for row in sensors(database)] == [("room-attic1", "RH"), ("room-attic1", "temperature")] * 2


def test_names_that_no_pattern_or_several_have(run, database, settings):
    """A name that two patterns could have is of no sensor: only a topic tells which."""
    fleet(settings)
    fleet(settings, topic="g/{sensor}", sensor_id="{device}", site="other")
    assert run("csv_fleet_history.csv", sensor=None) == 1
    assert reasons(database) == {"unknown_sensor": 1}


@pytest.mark.parametrize("topic", ["v3/app@ttn/devices/eui-1/up", "/topic"])
def test_messages_inside_envelopes(run, database, settings, tmp_path, topic):
    """--message and --topic read the messages in the lines by the registry's formats, as live messages."""
    known = json.loads(settings.registry.read_text())
    known["types"]["ttn"] = {
        "format": {"name": "things_stack"},
        "quantities": {name: {"unit": "1", "interval_seconds": 60} for name in ("temperature", "humidity")},
    }
    settings.registry.write_text(json.dumps(known))
    fleet(settings, type="ttn", topic="v3/+/devices/+/up")
    lines = (CASES / "files" / "nd_ttn_storage.ndjson").read_text().splitlines()
    path = tmp_path / "storage.ndjson"
    path.write_text("\n".join(json.dumps({"topic": "v3/a/devices/b/up", **json.loads(line)}) for line in lines))
    options = {"sensor": None, "message": "/result", "topic": topic}
    assert [run(path, **options), run(path, **options)] == [0, 0]
    times = [datetime(2024, 3, 27, 14, minute, 0, 123456, tzinfo=UTC) for minute in (5, 20)]
    assert sensors(database) == [
        ("eui-1", "humidity", times[0], 40.5),
        ("eui-1", "temperature", times[0], 21.5),
        ("eui-1", "humidity", times[1], 40.5),
        ("eui-1", "temperature", times[1], 21.6),
    ]
    assert reasons(database) == {}


def test_envelopes_without_a_message(run, database, tmp_path):
    """A line without the message, the topic or a time is quarantined with the reason."""
    path = tmp_path / "lines.ndjson"
    good = {"topic": "s1", "message": {"timestamp": "2024-03-27T14:05:00Z", "temperature": 21.5}}
    texts = [good, {"topic": "s1"}, {"message": {}}, {**good, "message": json.dumps(good["message"])}]
    path.write_text("\n".join([*map(json.dumps, texts), "{"]))
    assert run(path, message="/message", topic="/topic") == 2
    assert stored(database) == [(datetime(2024, 3, 27, 14, 5, tzinfo=UTC), 21.5)]
    assert reasons(database) == {"malformed": 3}


def test_lines_without_a_time(run, database, settings, tmp_path):
    """The load of a file is no time of measurement: a line without a time is quarantined as missing_time."""
    known = json.loads(settings.registry.read_text())
    known["types"]["t"]["format"] = {"name": "fields", "time": None}
    settings.registry.write_text(json.dumps(known))
    path = tmp_path / "lines.ndjson"
    path.write_text('{"temperature": 21.5}\n')
    assert (run(path), stored(database), reasons(database)) == (1, [], {"missing_time": 1})


BAD = "time,temperature,RH\n2024-03-27T14:05:00Z,warm,40\n2024-03-27T14:06:00Z,21.6,wet\nyesterday,20,30\nx\n"


@pytest.mark.parametrize("form", ["csv", "ndjson", "lines"])
def test_second_load_of_bad_rows(run, database, tmp_path, form):
    """Rows in quarantine are counted there again, not added; the accounts balance and the exit status is the same."""
    path, columns = tmp_path / f"bad.{form.replace('lines', 'ndjson')}", []
    path.write_text(BAD)
    if form != "csv":
        header, *rows = [line.split(",") for line in BAD.splitlines()]
        names = ["timestamp", *header[1:]]
        path.write_text("".join(f"{json.dumps(dict(zip(names, row, strict=False)))}\n" for row in rows))
        columns = ["time=timestamp"] if form == "ndjson" else []
    first = (run(path, *columns), reasons(database), stored(database), stored(database, "RH"))
    again = (run(path, *columns), reasons(database), stored(database), stored(database, "RH"))
    assert first[0] == 2
    assert again == first
    with database.connect() as connection:
        assert {repeats for (repeats,) in connection.execute("select repeats from telemetry.quarantine")} == {1}


@pytest.mark.parametrize("form", ["csv", "ndjson", "lines"])
def test_rows_are_replayed(run, database, settings, tmp_path, form, capsys):
    """After the registry was corrected, rows in quarantine become readings, with the options of their load."""
    path = tmp_path / f"rows.{form.replace('lines', 'ndjson')}"
    row = {"timestamp": "27.03.2024 14:05", "door": "ajar", "temperature": "70,7"}
    options = {"time_formats": ["%d.%m.%Y %H:%M"], "decimal": ",", "units": ["temperature=[degF]"]}
    if form == "csv":
        path.write_text("timestamp;door;temperature\n" + ";".join(row.values()) + "\n")
    else:
        path.write_text(json.dumps(row) + "\n")
    if form == "lines":
        row |= {"timestamp": "2024-03-27T14:05", "temperature": 21.5}
        path.write_text(json.dumps(row) + "\n")
        options = {}
    columns = ["door=door", "temperature=temperature", "time=timestamp"] if form == "ndjson" else []
    assert run(path, *columns, timezone="Europe/Berlin", **options) == 2
    assert reasons(database) == {"wrong_type": 1}
    known = json.loads(settings.registry.read_text())
    known["types"]["t"]["quantities"]["door"]["states"]["ajar"] = 0.5
    settings.registry.write_text(json.dumps(known))
    monkeypatched = {"COLLECTOR_REGISTRY": str(settings.registry), "COLLECTOR_CLIENT_ID": "test"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in monkeypatched.items():
            patch.setenv(name, value)
        quarantine.replay(None)
    assert "1 messages replayed, 1 readings stored" in capsys.readouterr().out
    assert stored(database, "door") == [(datetime(2024, 3, 27, 13, 5, tzinfo=UTC), 0.5)]
    assert [(time.hour, round(value, 9)) for time, value in stored(database)] == [(13, 21.5)]
    with database.connect() as connection:
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)


def test_rows_of_a_discovered_sensor_are_replayed(run, database, settings, capsys):
    """A row of a sensor that no entry covered is replayed after one does."""
    assert run("csv_fleet_history.csv", sensor=None) == 1
    fleet(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLLECTOR_REGISTRY", str(settings.registry))
        quarantine.replay(None)
    assert "1 readings stored" in capsys.readouterr().out
    assert [row[0] for row in sensors(database)] == ["attic1"]


def test_repeated_hour_in_named_members(run, database, tmp_path):
    """The order of lines tells the two passes of the hour, with --column as in tables."""
    lines = (CASES / "files" / "csv_dst_autumn_irregular.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    path = tmp_path / "autumn.ndjson"
    path.write_text("".join(f"{json.dumps(dict(zip(header, row, strict=True)))}\n" for row in rows))
    names = [f"time={header[0]}", "temperature=temperature"]
    assert run(path, *names, timezone="Europe/Berlin") == 0
    assert stored(database) == expected("csv_dst_autumn_irregular.csv")


def test_dry_run(run, database, settings, tmp_path, capsys, monkeypatch):
    """--dry-run prints readings, interval, units and outcomes, has the exit status of a load, and writes nothing."""
    path = tmp_path / "rows.csv"
    path.write_text(BAD + "2024-03-27T14:07:00Z,21.7,\n,,\n")
    fleet(settings)
    monkeypatch.setenv("COLUMNS", "160")
    assert run(path, dry_run=True) == 2
    output = capsys.readouterr().out
    assert "rows.csv: 6 rows, 7 readings: 3 to store, 5 to quarantine" in output
    assert "s1 temperature 2024-03-27 14:06:00.000 21.6 Cel" in " ".join(output.replace("│", " ").split())
    assert "60 s" in output
    assert "wrong_type" in output
    assert "no_value" in output
    assert run("csv_fleet_history.csv", sensor=None, dry_run=True) == 0
    assert run("csv_us_date.csv", "time=Date Time", "temperature=Temp", dry_run=True) == 1
    with database.connect() as connection:
        for table in ("intake", "quarantine", "reading", "sensor"):
            assert connection.execute(f"select count(*) from telemetry.{table}").fetchone() == (0,)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("time,temperature\n2024-03-27T14:05:00Z,21.5\n2024-03-27T14:06:00Z,\n", 0),
        ("time,temperature\n2024-03-27T14:05:00Z,21.5\n2024-03-27T14:06:00Z,warm\n", 2),
        ("time,temperature\n2024-03-27T14:05:00Z,warm\n", 1),
        ("when,what\n1,2\n", 1),
        ("", 1),
    ],
    ids=["all stored", "some quarantined", "nothing stored", "no known columns", "empty"],
)
def test_exit_statuses(run, tmp_path, text, status):
    """0: all rows stored, duplicates or without a value; 2: some quarantined; 1: nothing stored or unreadable."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    assert [run(path), run(path)] == [status, status]
