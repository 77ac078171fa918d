"""What a request may ask: instants, widths, cursors, forms; wrong ones are told, right ones mean one thing."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import times
from access.listing import cursor, media_types
from access.listing.params import Between, CyclesAsked, QualityDaysAsked, ReadingsAsked
from access.problems import ProblemError
from access.settings import AccessSettings, load
from core.errors import SettingError

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
INSTANTS = st.integers(0, 7_258_118_400_000_000).map(times.at)
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
    """A number and a unit are so many microseconds."""
    assert times.width(text) == length


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.5s", "0s", "10 s", "1y", "9999999d", "10S", "٣s1"])
def test_no_widths(text):
    """Anything else, nothing, and more than ten years are refused."""
    with pytest.raises(ValueError, match="10s"):
        times.width(text)


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
def test_instants(text):
    """ISO 8601 with Z or an offset is an instant, also where an address has made a space of the plus."""
    assert times.instant(text) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_date_is_its_first_instant():
    """Days are those of UTC."""
    assert times.instant("2026-03-01") == datetime(2026, 3, 1, tzinfo=UTC)


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
def test_no_instants(text):
    """Times without a zone, numbers and what is no time are refused with what to write."""
    with pytest.raises(ValueError, match="2026-03-01T12:00:00Z"):
        times.instant(text)


@given(INSTANTS)
def test_instants_are_written_as_they_are_read(when):
    """What stands in an answer can be sent back and means the same microsecond."""
    assert times.instant(times.written(when)) == when
    assert times.at(times.micros(when)) == when


@pytest.mark.parametrize(
    ("asked", "begin"),
    [
        (Between(), MINUTE - timedelta(days=1)),
        (CyclesAsked(), MINUTE - timedelta(days=7)),
        (QualityDaysAsked(), MINUTE - timedelta(days=30)),
    ],
)
def test_periods_settle(asked, begin):
    """Without an end it ends with the running minute, without a beginning it begins as long before as is usual."""
    settled = asked.settled(NOW)
    assert (settled.from_, settled.to) == (begin, MINUTE)
    assert settled.settled(NOW + timedelta(days=3)) == settled


def test_a_period_has_a_length():
    """An end that is not after the beginning is 422, and says which."""
    with pytest.raises(ProblemError, match="is not before") as caught:
        Between.model_validate({"from": "2026-03-02", "to": "2026-03-02"}).settled(NOW)
    assert caught.value.errors == ({"parameter": "from", "detail": "not before `to`"},)


def test_what_is_asked_makes_the_question():
    """How it is handed over is no part of it, nor is what is unset."""
    one = ReadingsAsked.model_validate({"sensor": ["a"], "limit": 5, "format": "csv", "cursor": "x"})
    assert one.question == {"sensor": ["a"], "order": "asc"}


KEYS = st.tuples(
    st.text(),
    st.integers(-(2**60), 2**60),
    INSTANTS,
    st.dates(),
)


@given(KEYS)
def test_cursors_come_back_as_they_went(key):
    """Texts, integers, instants and days survive an address."""
    text = cursor.encode(key, "q")
    assert text.replace("-", "").replace("_", "").isalnum()
    assert cursor.decode(text, "q", (str, int, datetime, date)) == key


@given(st.text() | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")))
def test_other_texts_are_no_cursors(text):
    """Whatever somebody makes up is a problem, never an error."""
    with pytest.raises(ProblemError) as caught:
        cursor.decode(text, "q", (int,))
    assert caught.value.kind.status == 400


@pytest.mark.parametrize(("question", "kinds"), [("other", (int,)), ("q", (str,)), ("q", (int, int))])
def test_a_cursor_belongs_to_its_question(question, kinds):
    """One of another question, or with other values, is refused."""
    with pytest.raises(ProblemError):
        cursor.decode(cursor.encode((5,), "q"), question, kinds)


def test_questions_differ():
    """Path and every parameter count, their order doesn't."""
    assert cursor.fingerprint("/a", {"x": 1, "y": 2}) == cursor.fingerprint("/a", {"y": 2, "x": 1})
    different = [("/a", {}), ("/b", {}), ("/a", {"x": 1}), ("/a", {"x": 2}), ("/a", {"y": 1})]
    assert len({cursor.fingerprint(*one) for one in different}) == len(different)


@pytest.mark.parametrize(
    ("accept", "form"),
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
def test_forms(accept, form):
    """The best of what the header takes; anything is JSON."""
    assert media_types.choose(accept, None) == form
    assert media_types.choose(accept, "csv") == "csv"


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "", "application/json;q=x"])
def test_no_forms(accept):
    """Where none of the three will do, 406 says which there are."""
    if accept == "":
        assert media_types.choose(accept, None) == "json"
        return
    with pytest.raises(ProblemError, match="text/csv"):
        media_types.choose(accept, None)


def test_csv_keeps_text_as_it_is():
    """Commas, quotes and line ends are quoted, instants written as in JSON, nothing is empty, lists are JSON."""
    rows = [('a,"b"\nc', NOW, None, True, 1.5, [{"x": 1}])]
    assert media_types.table(["n"], rows, headed=True) == (
        b'n\r\n"a,""b""\nc",2026-03-01T12:00:30Z,,true,1.5,"[{""x"":1}]"\r\n'
    )


@pytest.fixture
def variables(monkeypatch):
    """Set variables of the interface."""
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
def test_wrong_settings_are_told(variables, name, value):
    """Each with its variable; nothing is started."""
    variables(**{name: value})
    with pytest.raises(SettingError, match=f"ACCESS_{name}"):
        load()


def test_all_mistakes_at_once(variables, monkeypatch):
    """Those of the broker and the database too."""
    variables(PORT="x")
    monkeypatch.setenv("MQTT_PORT", "x")
    monkeypatch.setenv("PGPORT", "x")
    with pytest.raises(SettingError) as caught:
        load()
    for name in ("ACCESS_PORT", "MQTT_PORT", "PGPORT"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("address", "clear"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("10.0.0.1", True),
        ("example.org", True),
    ],
)
def test_unencrypted_beyond_this_machine(variables, address, clear):
    """Addresses that others reach want TLS."""
    variables(ADDRESS=address)
    assert AccessSettings().in_the_clear is clear


def test_every_setting_is_in_the_example():
    """``.env.example`` lists each variable with its default."""
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    for name, field in AccessSettings.model_fields.items():
        default = "" if field.default is None else field.default
        assert f"#ACCESS_{name.upper()}={default}\n" in text
