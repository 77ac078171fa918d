"""Format influx: line protocol by its documentation."""

import pytest
from fix_formats import ARRIVED, holds, read, sent, values
from hypothesis import given
from hypothesis import strategies as st

from collector.formats.influx import InfluxFormat
from collector.message import Message, NoReadingError, Reason, UndecodableError

PLAIN = InfluxFormat()
TIME = 1465839830100400


def lines(text: str, form: InfluxFormat = PLAIN) -> list:
    """Return the measurements in these lines."""
    return read(form, "a", text.encode())


def test_types():
    """Floats, integers, unsigned integers, booleans in all spellings and texts are values, with the line's time."""
    measurements = lines(
        "m,tag=x f=12.5,g=-1e3,h=.5,i=3i,j=-7i,u=18446744073709551615u,"
        't=T,e=true,c=TRUE,n=f,o=False,s="a b" 1465839830100400200'
    )
    assert values(measurements) == {
        "f": 12.5, "g": -1000.0, "h": 0.5, "i": 3, "j": -7, "u": 18446744073709551615, "t": True, "e": True, "c": True,
        "n": False, "o": False, "s": "a b",
    }  # fmt: skip
    assert type(values(measurements)["t"]) is bool
    assert {
        (measurement.time, measurement.device, measurement.unit, measurement.problem) for measurement in measurements
    } == {(TIME, "", None, None)}


def test_without_time():
    """A line without a time has none; the decoder uses its arrival."""
    assert lines("m f=1")[0].time is None


@pytest.mark.parametrize(
    ("precision", "raw"),
    [("ns", "1465839830100400999"), ("us", "1465839830100400"), ("ms", "1465839830100"), ("s", "1465839830")],
)
def test_precision(precision, raw):
    """The option precision is the unit of times."""
    expected = {"ms": 1465839830100000, "s": 1465839830000000}.get(precision, TIME)
    assert lines(f"m f=1 {raw}", InfluxFormat(precision=precision))[0].time == expected


def test_device_and_measurement():
    """A tag may name the device, and the measurement may be part of the quantity."""
    form = InfluxFormat(device_tag="host", quantity="measurement/field")
    measurements = lines("cpu,host=a,cpu=cpu0 usage=1\nmem,cpu=x,host=b used=2\nswap,cpu=x in=3", form)
    assert sent(measurements) == [("a", "cpu/usage", 1, None), ("b", "mem/used", 2, None), ("", "swap/in", 3, None)]


def test_escapes():
    """A backslash escapes comma, space and equals sign, and quotes in texts; elsewhere it is literal."""
    form = InfluxFormat(device_tag="t ag", quantity="measurement/field")
    measurements = lines(r'my\ m\,x,t\ ag=a\=b\ \,c fi\ e\=l\,d="say \"hi\" \\ C:\temp, x=1",p\q=2', form)
    assert sent(measurements) == [
        ("a=b ,c", "my m,x/fi e=l,d", 'say "hi" \\ C:\\temp, x=1', None),
        ("a=b ,c", r"my m,x/p\q", 2, None),
    ]


def test_lines():
    """Comments, blank lines, spaces before a line and both line ends are skipped; texts may contain line breaks."""
    measurements = lines('# a "comment\n\n  m a=1\r\nm s="two\nlines",b=2 \n#end\nm c=3')
    assert values(measurements) == {"a": 1, "s": "two\nlines", "b": 2, "c": 3}


def test_utf8():
    """Names and texts are UTF-8."""
    assert values(lines('m wärme="größer",µ=1')) == {"wärme": "größer", "µ": 1}


@pytest.mark.parametrize(
    "bad",
    ["m", "m ", "m f", "m f=", "m f=1,", "m f=1,g", ",t=x f=1", "m,t f=1", "m,t= f=1", "m,=x f=1", "m, f=1",
     "m,t=x, f=1", "m =1", "m f=1 5 6", 'm f="x', 'm f="x"y', "m\\ f=1"],
)  # fmt: skip
def test_one_bad_line(bad):
    """An unreadable line is one problem that quotes it; the lines around it are read."""
    first, wrong, last = lines(f"m a=1 1\n{bad}\nm b=2 2")
    assert (first.quantity, last.quantity, last.time) == ("a", "b", 0)
    assert wrong.problem.reason is Reason.MALFORMED
    assert repr(bad)[1:-1][:10] in wrong.problem.detail


@pytest.mark.parametrize(
    ("raw", "reason"),
    [("NaN", Reason.NOT_FINITE), ("-inf", Reason.NOT_FINITE), ("+Infinity", Reason.NOT_FINITE),
     ("1.5i", Reason.MALFORMED), ("0x10", Reason.MALFORMED), ("1_000", Reason.MALFORMED), ("abc", Reason.MALFORMED),
     ("\N{FULLWIDTH DIGIT NINE}", Reason.MALFORMED), ("tRUE", Reason.MALFORMED)],
)  # fmt: skip
def test_one_bad_field(raw, reason):
    """An invalid value affects its field only, not the line."""
    wrong, good = lines(f"m f={raw},g=2 1465839830100400200")
    assert (wrong.quantity, wrong.problem.reason, wrong.time) == ("f", reason, TIME)
    assert (good.quantity, good.value, good.problem) == ("g", 2, None)


def test_bad_time():
    """An invalid time is a problem of the line's values."""
    assert [measurement.problem.reason for measurement in lines("m f=1,g=2 yesterday")] == [Reason.UNREADABLE_TIME] * 2


@pytest.mark.parametrize("payload", [b"", b"\n\n", b"# nothing\n", b"   "])
def test_no_reading(payload):
    """A message of comments has no reading."""
    with pytest.raises(NoReadingError):
        read(PLAIN, "a", payload)


def test_not_text():
    """A payload that is not UTF-8 is refused as a whole."""
    with pytest.raises(UndecodableError):
        read(PLAIN, "a", b"m f=1\n\xff")


@pytest.mark.parametrize(
    "text",
    ["\\" * 50_000, "a" * 50_000 + " ", 'a b="' + "\\" * 50_001, "a," * 25_000 + " b=1", "a b=1 " + " " * 50_000 + "x",
     'a b="\n' * 10_000, "a b=" + '"' * 50_001, "a " + "b=1," * 12_000],
)  # fmt: skip
def test_long_lines(text):
    """Lines that are built to be slow to read are read or refused in linear time."""
    assert lines(text)


PARTS = st.sampled_from(
    ["m", ",", "=", " ", "\\", '"', "\n", "#", "t", "1", "i", "u", "1.5", "NaN", "é", "\r", "\t", "123456789"]
)


@given(
    payload=st.binary(max_size=40) | st.lists(PARTS, max_size=40).map(lambda parts: "".join(parts).encode()),
    form=st.builds(
        InfluxFormat,
        precision=st.sampled_from(["ns", "us", "ms", "s"]),
        device_tag=st.sampled_from([None, "t"]),
        quantity=st.sampled_from(["field", "measurement/field"]),
    ),
)
def test_anything(payload, form):
    """For any message the reader returns measurements or raises one of the two errors of its contract."""
    holds(form, Message("a", payload, ARRIVED), {})
