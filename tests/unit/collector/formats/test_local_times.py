"""Local times in the hour that comes twice, in the hour that is skipped, and in other spellings."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from collector.formats.times import UNKNOWN_ARRIVAL, Arrival, iso8601, moment
from collector.message import Reason, UnusableError

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
"""Its clocks are set back by half an hour."""


def at(text: str) -> int:
    """Return a time with an offset in microseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def arrived(text: str, waited: float = 0) -> Arrival:
    """Return an arrival after at most ``waited`` minutes at the broker."""
    return Arrival(at(text) - round(waited * 60_000_000), at(text))


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        ("2024-10-27T00:30:11Z", "2024-10-27T00:30:10Z"),
        ("2024-10-27T01:20:00Z", "2024-10-27T00:30:10Z"),
        ("2024-10-27T01:30:11Z", "2024-10-27T01:30:10Z"),
        ("2024-10-27T01:28:00Z", "2024-10-27T01:30:10Z"),
        ("2024-10-27T02:29:00Z", "2024-10-27T01:30:10Z"),
    ],
)
def test_twice(arrival, expected) -> None:
    """The arrival tells which of the two hours it is; a clock may be some minutes ahead."""
    assert iso8601("2024-10-27 02:30:10", BERLIN, arrived(arrival)) == at(expected)


@pytest.mark.parametrize(
    "received", [arrived("2024-10-27T08:00:00Z"), UNKNOWN_ARRIVAL, arrived("2024-10-26T23:00:00Z")]
)
def test_ambiguous(received) -> None:
    """An arrival hours later or earlier, or an unknown one, does not tell."""
    with pytest.raises(UnusableError) as caught:
        iso8601("2024-10-27 02:30:10", BERLIN, received)
    assert caught.value.reason is Reason.AMBIGUOUS_TIME


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [("2024-04-06T14:45:10Z", "2024-04-06T14:45:00Z"), ("2024-04-06T15:15:10Z", "2024-04-06T15:15:00Z")],
)
def test_half_an_hour_twice(arrival, expected) -> None:
    """Half an hour that occurs twice is told apart in the same way."""
    assert iso8601("2024-04-07 01:45:00", LORD_HOWE, arrived(arrival)) == at(expected)


@pytest.mark.parametrize(
    ("zone", "text", "arrival", "waited", "expected"),
    [
        (BERLIN, "2024-10-27 02:30:10", "2024-10-27T01:30:12Z", 10, "2024-10-27T01:30:10Z"),
        (BERLIN, "2024-10-27 02:30:10", "2024-10-27T01:10:00Z", 50, "2024-10-27T00:30:10Z"),
        (BERLIN, "2024-10-27 02:30:10", "2024-10-27T01:25:30Z", 54, None),
        (LORD_HOWE, "2024-04-07 01:58:00", "2024-04-06T15:26:10Z", 29, None),
        (LORD_HOWE, "2024-04-07 01:58:00", "2024-04-06T15:32:00Z", 4, "2024-04-06T15:28:00Z"),
    ],
)
def test_waited(zone, text, arrival, waited, expected) -> None:
    """A message that may have been sent in either pass is ambiguous; one that can only be of one pass is not."""
    time, problem = moment(text, "iso8601", zone, arrived(arrival, waited))
    assert time == (None if expected is None else at(expected))
    assert (None if problem is None else problem.reason) is (Reason.AMBIGUOUS_TIME if expected is None else None)


def test_skipped() -> None:
    """A local time that the clocks skipped does not exist."""
    with pytest.raises(UnusableError) as caught:
        iso8601("2024-03-31 02:30:00", BERLIN, arrived("2024-03-31T01:30:00Z"))
    assert caught.value.reason is Reason.NONEXISTENT_TIME


@pytest.mark.parametrize(
    "text", ["2024-10-27 01:59:59", "2024-10-27 03:00:00", "2024-03-31 01:59:59", "2024-03-31 03:00:00"]
)
def test_other_hours(text) -> None:
    """Times around the changes do not depend on the arrival."""
    expected = round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1_000_000)
    assert iso8601(text, BERLIN, UNKNOWN_ARRIVAL) == iso8601(text, BERLIN) == expected


@pytest.mark.parametrize(
    "text",
    ["2024/06/05T14:19:21z", "2024-06-05 14:19:21 UTC", "2024.06.05 14:19:21 +0000", "2024-06-05T16:19:21 +02:00"],
)
def test_nearly_iso8601(text) -> None:
    """Times whose separators differ from ISO 8601 are understood."""
    assert iso8601(text, None) == at("2024-06-05T14:19:21Z")


@pytest.mark.parametrize("text", ["2024/13/05T14:19:21z", "05/06/2024 14:19", "2024-06-05 14:19:21 CEST"])
def test_unreadable(text) -> None:
    """Times that could mean several things are unreadable."""
    with pytest.raises(UnusableError) as caught:
        iso8601(text, None)
    assert caught.value.reason is Reason.UNREADABLE_TIME


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("05.06.2024 14:19:21", ("%d.%m.%Y %H:%M:%S",)),
        ("06/05/2024 02:19:21 PM", ("%Y", "%m/%d/%Y %I:%M:%S %p")),
        ("2024/06/05T14:19:21z", ("%Y/%m/%dT%H:%M:%S%z",)),
        ("2024-06-05T14:19:21Z", ("%d.%m.%Y",)),
    ],
)
def test_codes(text, codes) -> None:
    """The first strptime code that matches is used, otherwise ISO 8601."""
    assert moment(text, "iso8601", ZoneInfo("UTC"), None, codes) == (at("2024-06-05T14:19:21Z"), None)


def test_codes_and_epochs() -> None:
    """Numbers stay numbers of their unit where codes are for text."""
    assert moment("1717597161", "s", None, None, ("%d.%m.%Y",)) == (1_717_597_161_000_000, None)
    assert datetime.fromtimestamp(1_717_597_161, UTC).isoformat() == "2024-06-05T14:19:21+00:00"
