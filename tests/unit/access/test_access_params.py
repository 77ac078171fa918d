"""Query parameters, times, widths, cursors, media types and settings: valid and invalid values."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import times
from access.listing import cursor, media_types
from access.listing.params import LoadCyclesParams, PeriodParams, QualityDaysParams, ReadingsParams
from access.problems import ProblemError
from access.settings import AccessSettings, load
from core.errors import SettingError

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
TIMES = st.integers(0, 7_258_118_400_000_000).map(times.from_micros)
MINUTE = datetime(2026, 3, 1, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("10s", 10_000_000),
        ("500ms", 500_000),
        ("7us", 7),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
    ],
)
def test_widths(text, length):
    """A number and a unit are converted to microseconds."""
    assert times.parse_width(text) == length


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.5s", "0s", "10 s", "1y", "9999999d", "10S", "٣s1"])
def test_invalid_widths(text):
    """Other texts, zero, and more than ten years are refused."""
    with pytest.raises(ValueError, match="10s"):
        times.parse_width(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01T14:00:00+02:00",
        "2026-03-01T14:00:00 02:00",
        "2026-03-01T12:00Z",
        "20260301T120000Z",
    ],
)
def test_valid_times(text):
    """ISO 8601 with Z or an offset is accepted, also with the space that an unescaped plus in a URL becomes."""
    assert times.parse_instant(text) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_date_is_its_start_in_utc():
    """A date without a time means 00:00 UTC."""
    assert times.parse_instant("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "12:00",
        "2026-03-01T12:00:00",
        "2026-13-01",
        "1772366400",
        "0001-01-01T00:00:00+02:00",
        5,
        None,
        "x" * 99,
    ],
)
def test_invalid_times(text):
    """Times without a zone, numbers and other texts are refused with an example."""
    with pytest.raises(ValueError, match="2026-03-01T12:00:00Z"):
        times.parse_instant(text)


@given(TIMES)
def test_formatted_times_parse_to_the_same_time(when):
    """A time of a response can be sent in a request without loss."""
    assert times.parse_instant(times.format_utc(when)) == when
    assert times.from_micros(times.to_micros(when)) == when


@pytest.mark.parametrize(
    ("params", "begin"),
    [
        (PeriodParams(), MINUTE - timedelta(days=1)),
        (LoadCyclesParams(), MINUTE - timedelta(days=7)),
        (QualityDaysParams(), MINUTE - timedelta(days=30)),
    ],
)
def test_default_periods(params, begin):
    """The default end is the end of the current minute; the default length depends on the list."""
    complete = params.with_period(NOW)
    assert (complete.from_, complete.to) == (begin, MINUTE)
    assert complete.with_period(NOW + timedelta(days=3)) == complete


def test_empty_period_is_refused():
    """An end that is not after the beginning is an error of `from`."""
    with pytest.raises(ProblemError, match="is not before") as caught:
        PeriodParams.model_validate({"from": "2026-03-02", "to": "2026-03-02"}).with_period(NOW)
    assert caught.value.errors == ({"parameter": "from", "detail": "not before `to`"},)


def test_filters_exclude_presentation_and_unset_parameters():
    """Limit, format, cursor and unset parameters are not filters."""
    params = ReadingsParams.model_validate({"sensor": ["a"], "limit": 5, "format": "csv", "cursor": "x"})
    assert params.filters == {"sensor": ["a"], "order": "asc"}


KEYS = st.tuples(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.integers(-(2**60), 2**60),
    TIMES,
    st.dates(),
)


@given(KEYS)
def test_cursors_round_trip(key):
    """Strings, integers, datetimes and dates are decoded to the same values."""
    text = cursor.encode(key, "q")
    assert text.replace("-", "").replace("_", "").isalnum()
    assert cursor.decode(text, "q", (str, int, datetime, date)) == key


@given(st.text() | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_invalid_cursors_are_refused(text):
    """Any other text is a problem with status 400."""
    with pytest.raises(ProblemError) as caught:
        cursor.decode(text, "q", (int,))
    assert caught.value.kind.status == 400


@pytest.mark.parametrize(("fingerprint", "types"), [("other", (int,)), ("q", (str,)), ("q", (int, int))])
def test_cursor_belongs_to_its_list(fingerprint, types):
    """A cursor of another list, or with other types, is refused."""
    with pytest.raises(ProblemError):
        cursor.decode(cursor.encode((5,), "q"), fingerprint, types)


def test_fingerprints_depend_on_path_and_filters():
    """Path and every filter change the fingerprint, their order does not."""
    assert cursor.fingerprint("/a", {"x": 1, "y": 2}) == cursor.fingerprint("/a", {"y": 2, "x": 1})
    different = [("/a", {}), ("/b", {}), ("/a", {"x": 1}), ("/a", {"x": 2}), ("/a", {"y": 1})]
    assert len({cursor.fingerprint(*arguments) for arguments in different}) == len(different)


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("application/x-ndjson", "ndjson"),
        ("application/ndjson;q=0.9, text/csv;q=0.8", "ndjson"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "json"),
        ("text/csv;q=0.5, application/json;q=0.4", "csv"),
        ("*/*, text/csv", "csv"),
        ("application/json;q=0, */*", "json"),
    ],
)
def test_media_type_negotiation(accept, format_):
    """The header's preferred format is chosen; a wildcard means JSON."""
    assert media_types.choose(accept, None) == format_
    assert media_types.choose(accept, "csv") == "csv"


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "", "application/json;q=x"])
def test_unavailable_media_types(accept):
    """If the header accepts none of the three formats, the error lists them."""
    if accept == "":
        assert media_types.choose(accept, None) == "json"
        return
    with pytest.raises(ProblemError, match="text/csv"):
        media_types.choose(accept, None)


def test_csv_values():
    """Commas, quotes and line ends are quoted, times are as in JSON, null is empty, lists are JSON."""
    rows = [('a,"b"\nc', NOW, None, True, 1.5, [{"x": 1}])]
    assert media_types.csv_rows(["n"], rows, header=True) == (
        b'n\r\n"a,""b""\nc",2026-03-01T12:00:30Z,,true,1.5,"[{""x"":1}]"\r\n'
    )


@pytest.fixture
def variables(monkeypatch):
    """Set ACCESS_* variables."""
    return lambda **values: [monkeypatch.setenv(f"ACCESS_{name}", value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PUBLISH_TOPIC", "sensors/+/x"),
        ("PUBLISH_TOPIC", "sensors/#"),
        ("PUBLISH_TOPIC", "sensors/{sensor}"),
        ("PUBLISH_TOPIC", "$SYS/x"),
        ("CERT_FILE", "nowhere.pem"),
        ("QUERY_SECONDS", "nan"),
        ("CONNECTIONS", "0"),
    ],
)
def test_invalid_settings_are_named(variables, name, value):
    """The message names the variable."""
    variables(**{name: value})
    with pytest.raises(SettingError, match=f"ACCESS_{name}"):
        load()


def test_all_invalid_settings_are_reported_together(variables, monkeypatch):
    """The message also names invalid settings of the broker and the database."""
    variables(PORT="x")
    monkeypatch.setenv("MQTT_PORT", "x")
    monkeypatch.setenv("PGPORT", "x")
    with pytest.raises(SettingError) as caught:
        load()
    for name in ("ACCESS_PORT", "MQTT_PORT", "PGPORT"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("address", "unencrypted"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("10.0.0.1", True),
        ("example.org", True),
    ],
)
def test_unencrypted_addresses(variables, address, unencrypted):
    """Every address but the loopback address needs TLS."""
    variables(ADDRESS=address)
    assert AccessSettings().is_unencrypted is unencrypted


def test_every_setting_is_in_the_example():
    """``.env.example`` lists each variable with its default."""
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    for name, field in AccessSettings.model_fields.items():
        default = "" if field.default is None else field.default
        assert f"#ACCESS_{name.upper()}={default}\n" in text


@pytest.mark.parametrize("value", ["a\0b", "\ud800", 2**63, -(2**70)], ids=["NUL", "surrogate", "large", "small"])
def test_forged_keys_are_refused(value):
    """A key that the database refuses can only be forged."""
    with pytest.raises(ProblemError):
        cursor.decode(cursor.encode((value,), "q"), "q", (type(value),))
