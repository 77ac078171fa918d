"""Files as other programs write them (``tests/cases/files.json``), loaded with the options that they need."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.commands import load
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

    def run(name: str, *columns: str, sensor="s1", timezone="UTC", **text) -> int:
        return load.load(
            [CASES / "files" / name],
            None,
            sensor=sensor,
            columns=columns,
            timezone=timezone,
            time_unit=None,
            delimiter=None,
            text=TextOptions(**text),
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
