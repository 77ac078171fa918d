"""Roles of columns, options, delimiters, and formats by suffix."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collector.files import layout, options
from collector.files.csv_file import CsvFile
from collector.files.options import FileError, Form, Options
from collector.registry import sensors_file
from core.errors import SettingError

REGISTRY = sensors_file.parse(
    json.dumps(
        {
            "subscribe": ["#"],
            "types": {
                "weather": {
                    "quantities": {
                        "temperature": {"unit": "Cel", "interval_seconds": 1},
                        "humidity": {"unit": "%", "interval_seconds": 1},
                    }
                }
            },
            "sensors": [
                {"sensor_id": name, "type": "weather", "site": "s", "area": "a", "topic": name}
                for name in ("one", "two")
            ],
        }
    ).encode()
)
QUANTITIES = ("humidity", "temperature")
ONE = REGISTRY.sensors[0]


def find(columns: list[str], *, sensor: bool = True, **mapping: str) -> layout.Layout:
    """The layout of a file with these columns."""
    return layout.find(columns, Options(ONE if sensor else None, mapping), QUANTITIES, "x.csv")


@pytest.mark.parametrize("name", ["timestamp", "time", "datetime", "date", "ts", "Timestamp", " time "])
def test_time_is_found_by_name(name):
    """The usual names of a time column are recognised in any case."""
    assert find([name, "temperature"]).time == name


@pytest.mark.parametrize("name", ["sensor_id", "device_id"])
def test_sensor_is_found_by_name(name):
    """The usual names of a sensor column are recognised."""
    assert find(["time", name, "temperature"], sensor=False).sensor == name


def test_given_sensor_hides_the_column():
    """With --sensor no column names the sensor."""
    assert find(["time", "sensor_id", "temperature"]).sensor is None


def test_quantities_are_found_by_their_names():
    """Columns with names of quantities are wide values; others are ignored."""
    named = find(["time", "temperature", "note", "humidity"])
    assert named.wide == (("humidity", "humidity"), ("temperature", "temperature"))
    assert named.columns == ["time", "humidity", "temperature"]


@pytest.mark.parametrize("column", ["rh", "RH", " Rh "])
def test_quantities_are_found_in_any_case(column):
    """A column is found whatever the case of the quantity's name and its own."""
    assert layout.find(["time", column], Options(ONE), ("RH",), "x.csv").wide == (("RH", column),)


def test_time_of_two_columns():
    """--column time=Date+Time joins two columns, and both are read."""
    named = find(["Date", "Time", "temperature"], time="date+Time")
    assert (named.time_parts, named.columns) == (("Date", "Time"), ["Date", "Time", "temperature"])


def test_missing_part_of_a_time():
    """A part of the time that is no column is an error."""
    with pytest.raises(FileError, match="no column Clock"):
        find(["Date", "Time", "temperature"], time="Date+Clock")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"decimal": ";"}, "--decimal ;: give . or ,"),
        ({"decimal": ",", "thousands": ","}, "--thousands ,: --decimal is the same"),
        ({"time_formats": ["%H:%M"]}, "has no year"),
        ({"time_formats": ["%Y %Q"]}, "--time-format %Y %Q: "),
        ({"encoding": "ebcdic-9"}, "--encoding ebcdic-9: unknown"),
        ({"comment": ""}, "--comment: give the characters"),
        ({"units": ["temperature"]}, "write it as QUANTITY=UNIT"),
        ({"units": ["temperature=V"]}, "no conversion from 'V' to 'Cel'"),
    ],
)
def test_wrong_options_for_texts(given, problem):
    """A wrong option for texts is reported with its fix."""
    with pytest.raises(SettingError) as caught:
        options.parse(REGISTRY, text=options.TextOptions(**given))
    assert problem in str(caught.value)


def test_offset_as_zone():
    """--timezone takes an offset of whole hours, with the sign of ISO 8601."""
    zone = options.parse(REGISTRY, timezone="-07:00").zone
    assert datetime(2024, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=-7)


def test_long_form_is_found():
    """Columns quantity and value mean one reading per row, even next to columns with names of quantities."""
    named = find(["time", "quantity", "value", "temperature"])
    assert (named.quantity, named.value, named.wide) == ("quantity", "value", ())


def test_column_names_a_quantity():
    """--column temperature=value makes any column that quantity, and the file wide."""
    assert find(["timestamp", "value"], temperature="value").wide == (("temperature", "value"),)


def test_columns_name_the_long_form():
    """--column works for every role."""
    named = find(["t", "d", "what", "val"], sensor=False, time="t", sensor_id="d", quantity="what", value="val")
    assert named == layout.Layout("t", "d", "what", "val")


@pytest.mark.parametrize(
    ("columns", "mapping", "problem"),
    [
        (["a", "temperature"], {}, "no column is the time"),
        (["date", "time", "temperature"], {}, "columns date and time could each be the time"),
        (["time", "value"], {}, "no column is a quantity of the registry"),
        (["time", "value"], {"temperature": "nope"}, "no column nope"),
        (["time", "value", "value"], {"temperature": "value"}, "columns value and value could each be the temperature"),
        (["time", "value"], {"temperature": "value", "humidity": "value"}, "column value has two roles"),
    ],
)
def test_missing_or_ambiguous_columns(columns, mapping, problem):
    """A missing or ambiguous column is one error that lists the columns of the file."""
    with pytest.raises(FileError) as raised:
        find(columns, **mapping)
    assert problem in str(raised.value)
    assert ", ".join(columns) in str(raised.value)
    assert "--column" in str(raised.value) or "rename one" in str(raised.value)


def test_missing_sensor():
    """Without a sensor column the error names --sensor."""
    with pytest.raises(FileError, match="--sensor ID"):
        find(["time", "temperature"], sensor=False)


def test_every_wrong_option_is_listed():
    """All mistakes in the options are reported together, before any file is opened."""
    with pytest.raises(SettingError) as raised:
        options.parse(REGISTRY, "none", ["nonsense", "pressure=p", "time=a", "time=b"], "Mars/Base", None, "ab")
    text = str(raised.value)
    for part in ("--sensor none", "nonsense", "pressure", "time is given twice", "Mars/Base", "--delimiter ab"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", Form.CSV),
        ("a.CSV.gz", Form.CSV),
        ("a.tsv", Form.CSV),
        ("a.b.parquet", Form.PARQUET),
        ("a.ndjson", Form.NDJSON),
        ("a.jsonl.gz", Form.NDJSON),
    ],
)
def test_format_by_suffix(name, form):
    """The format is that of the file's suffix."""
    assert options.form_of(Path(name)) is form


@pytest.mark.parametrize("name", ["a", "a.gz", "a.xlsx"])
def test_unknown_suffix(name):
    """For an unknown suffix the error names --format."""
    with pytest.raises(FileError, match="--format"):
        options.form_of(Path(name))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found(delimiter, tmp_path):
    """Commas, semicolons and tabs are recognised by the header; quoted ones don't count."""
    path = tmp_path / "x.csv"
    path.write_text(delimiter.join(["time", "temperature", '"a,b;c"']) + "\n")
    assert CsvFile(path).columns == ["time", "temperature", "a,b;c"]


def test_delimiter_may_be_given(tmp_path):
    """--delimiter takes precedence over the header."""
    path = tmp_path / "x.csv"
    path.write_text("time,a|temperature\n")
    assert CsvFile(path, "|").columns == ["time,a", "temperature"]


def test_numbers_as_times_need_a_unit(tmp_path):
    """A column of epoch numbers without --time-unit is refused as a whole rather than quarantined by row."""
    path = tmp_path / "x.csv"
    path.write_text("time,temperature\n1700000000,1\n1700000001,2\n")
    with pytest.raises(FileError, match="--time-unit"):
        CsvFile(path).time_unit("time", None)
    assert CsvFile(path).time_unit("time", "s") == "s"
