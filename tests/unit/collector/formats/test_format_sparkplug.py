"""Format sparkplug: encoded samples with their expected content, births and aliases."""

import gzip
import struct
import zlib
from types import SimpleNamespace

import pytest
from fix_formats import ARRIVED, holds, names_of, sent, values
from fix_sparkplug import (
    ADDRESS,
    AT,
    BORN,
    DEVICE,
    DEVICE_BORN,
    NODE,
    Plant,
    encode,
    read,
    requests_rebirth,
    sparkplug_sample,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import units
from collector.formats.measurement import Topic
from collector.formats.sparkplug import payload as wire
from collector.formats.sparkplug.metrics import Birth
from collector.formats.sparkplug.nodes import Nodes, place
from collector.formats.sparkplug.reader import SparkplugFormat
from collector.message import Message, NoReadingError, Reason, UndecodableError


def test_sample_ndata():
    """A metric with a name and a type needs no birth; a Float has the precision of 32 bits."""
    measurements = read(*sparkplug_sample("ndata"))
    expected = struct.unpack("<f", struct.pack("<f", 12.3))[0]
    assert sent(measurements) == [("Sparkplug B Devices/Raspberry Pi", "Supply Voltage", expected, None)]
    assert measurements[0].time == AT * 1000


def test_sample_dbirth():
    """A birth has the present values of all metrics: thirteen inputs and outputs that are off, and a text."""
    measurements = read(*sparkplug_sample("dbirth"))
    off = ["Inputs/A", "Inputs/B", "Inputs/C", "Inputs/D", "Inputs/Button", "Outputs/E", "Outputs/F", "Outputs/G",
           "Outputs/H", "Outputs/LEDs/Green", "Outputs/LEDs/Red", "Outputs/LEDs/Yellow", "Outputs/Buzzer"]  # fmt: skip
    assert values(measurements) == {**dict.fromkeys(off, False), "Properties/Hardware Make": "Pibrella"}
    assert {(measurement.device, measurement.time) for measurement in measurements} == {
        ("Sparkplug B Devices/Raspberry Pi/Pibrella", AT * 1000)
    }


def test_sample_ddeath():
    """A death has no reading."""
    with pytest.raises(NoReadingError):
        read(*sparkplug_sample("ddeath"))


def test_births():
    """Births have readings of node and device, with units; commands, bdSeq and null have none."""
    plant = Plant()
    assert sent(plant.send("NBIRTH", BORN, 0)) == [(NODE, "Load", -3, "%")]
    assert sent(plant.send("DBIRTH", DEVICE_BORN, 1)) == [
        (DEVICE, "Flow", 1.5, "m3/h"),
        (DEVICE, "Level", -70000, None),
    ]
    assert plant.rebirth_requests() == 0


def test_data_by_alias():
    """An alias refers to the name, type and unit in the birth; 0 is a valid alias."""
    plant = Plant().born()
    measurements = plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 2.5, "timestamp": AT + 5},
                                 {"alias": 8, "field": "int_value", "value": -5}], 2)  # fmt: skip
    assert sent(measurements) == [(DEVICE, "Flow", 2.5, "m3/h"), (DEVICE, "Level", -5, None)]
    assert [measurement.time for measurement in measurements] == [(AT + 5) * 1000, AT * 1000]
    assert sent(plant.send("NDATA", [{"alias": 0, "field": "int_value", "value": -9}], 3)) == [(NODE, "Load", -9, "%")]
    assert plant.rebirth_requests() == 0


def test_data_by_name_without_type():
    """A metric with a name alone has the type of its birth."""
    measurements = Plant().born().send("DDATA", [{"name": "Level", "field": "int_value", "value": -5}], 2)
    assert values(measurements) == {"Level": -5}


def test_a_later_birth_replaces_aliases():
    """After another birth the aliases are those of that birth."""
    plant = Plant().born()
    plant.send("NBIRTH", BORN, 0)
    plant.send("DBIRTH", [{"name": "Other", "alias": 7, "dataType": "Double", "value": 1.0}], 1)
    assert values(plant.send("DDATA", [{"alias": 7, "field": "double_value", "value": 4.0}], 2)) == {"Other": 4.0}


@pytest.mark.parametrize(
    ("datatype", "field", "raw", "value"),
    [
        ("Int8", "int_value", 0xFF, -1),
        ("Int8", "int_value", 0xFFFF_FF80, -128),
        ("Int8", "int_value", 127, 127),
        ("Int16", "int_value", 0x8000, -32768),
        ("Int16", "int_value", 0xFFFF_FFFE, -2),
        ("Int32", "int_value", 0x8000_0000, -(2**31)),
        ("Int32", "long_value", 2**64 - 7, -7),
        ("Int64", "long_value", 2**63, -(2**63)),
        ("Int64", "long_value", 2**63 - 1, 2**63 - 1),
        ("UInt8", "int_value", 255, 255),
        ("UInt32", "int_value", 2**32 - 1, 2**32 - 1),
        ("UInt32", "long_value", 2**32 - 1, 2**32 - 1),
        ("UInt64", "long_value", 2**64 - 1, 2**64 - 1),
        ("DateTime", "long_value", AT, AT),
        ("Double", "float_value", 0.5, 0.5),
        ("Double", "int_value", 5, 5),
        ("Boolean", "boolean_value", True, True),
        ("Text", "string_value", "on", "on"),
        ("UUID", "string_value", "1-2", "1-2"),
    ],
)
def test_types(datatype, field, raw, value):
    """Signed integers are two's complement in unsigned fields, in the width of the type or the field."""
    (measurement,) = Plant().send("NDATA", [{"name": "x", "dataType": datatype, "field": field, "value": raw}])
    assert (measurement.value, type(measurement.value), measurement.problem) == (value, type(value), None)


@pytest.mark.parametrize(
    ("datatype", "field", "raw"),
    [("Int8", "int_value", 300), ("Int16", "int_value", 0x1_0000), ("Int32", "string_value", "1"),
     ("Boolean", "int_value", 1), ("Float", "boolean_value", True), ("String", "float_value", 1.0),
     ("UInt8", "double_value", 1.0)],
)  # fmt: skip
def test_wrong_types(datatype, field, raw):
    """A value that its type does not allow is a problem of that metric."""
    wrong, good = Plant().send("NDATA", [{"name": "x", "dataType": datatype, "field": field, "value": raw},
                                         {"name": "y", "dataType": "Double", "value": 1.0}])  # fmt: skip
    assert (wrong.quantity, wrong.problem.reason) == ("x", Reason.WRONG_TYPE)
    assert (good.value, good.problem) == (1.0, None)


METRICS = st.lists(
    st.builds(
        lambda metric, value: metric | value,
        st.fixed_dictionaries(
            {"name": st.sampled_from(["a", "b", "8J", "bdSeq", "bdSeqs", "Node Control/Rebirth"])},
            optional={
                "alias": st.integers(0, 2),
                "dataType": st.sampled_from(["Int8", "Int64", "UInt32", "Float", "Boolean", "String", "DataSet"]),
                "timestamp": st.sampled_from([0, AT + 1]),
                "null": st.booleans(),
            },
        ),
        st.sampled_from(
            [
                {},
                {"field": "int_value", "value": 200},
                {"field": "long_value", "value": 2**63},
                {"field": "float_value", "value": 0.5},
                {"field": "boolean_value", "value": False},
                {"field": "string_value", "value": "on"},
            ]
        ),
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(METRICS, METRICS, st.booleans())
def test_plain_metrics(born, data, by_alias):
    """A metric without properties is read by the fast path with the same result."""
    if by_alias:
        data = [{name: metric[name] for name in metric if name != "name"} for metric in data]
    outcomes = []
    for properties in ({}, {"properties": {"x": 1}}):
        plant = Plant()
        outcomes.append(seen := [])
        for verb, metrics, seq in (("NBIRTH", born, 0), ("NDATA", data, 1)):
            try:
                measurements = plant.send(verb, [metric | properties for metric in metrics], seq)
                seen.append(
                    [
                        (measurement[:5], measurement.problem and measurement.problem.detail)
                        for measurement in measurements
                    ]
                )
            except (NoReadingError, UndecodableError) as error:
                seen.append(repr(error))
        seen.append(plant.rebirth_requests())
    assert outcomes[0] == outcomes[1]


def test_left_out():
    """Bytes, data sets, templates, nulls and metrics without a value have no reading."""
    metrics = [
        {"name": "a", "dataType": "Bytes", "value": b"x"},
        {"name": "b", "dataType": "DataSet", "value": b""},
        {"name": "c", "dataType": "Template", "value": b"\x0a\x011"},
        {"name": "d", "dataType": "Int8", "null": True},
        {"name": "e", "dataType": "Int8"},
        {"name": "Device Control/Reboot", "dataType": "Boolean", "value": False},
    ]
    Plant().ignores("NDATA", metrics, 0)


@pytest.mark.parametrize("quality", [0, 500])
@pytest.mark.parametrize(("datatype", "field"), [(3, "int_value"), (4, "long_value"), (8, "long_value")])
def test_quality(quality, datatype, field):
    """A value of bad or stale quality is rejected, a good one is not; the property is an Int32, Int64 or UInt64."""
    metrics = [{"name": name, "dataType": "Int8", "value": 1, "properties": {"Quality": (datatype, field, code)}}
               for name, code in (("x", quality), ("y", 192))]  # fmt: skip
    wrong, good = Plant().send("NDATA", metrics)
    assert (wrong.problem.reason, good.problem) == (Reason.BAD_QUALITY, None)


def test_historical():
    """Values that a node stored while it was offline have their own times."""
    plant = Plant().born()
    metrics = [
        {"alias": 7, "field": "float_value", "value": float(n), "timestamp": AT - n, "is_historical": True}
        for n in (1, 2)
    ]
    assert [(measurement.value, measurement.time) for measurement in plant.send("DDATA", metrics, 2)] == [
        (1.0, (AT - 1) * 1000),
        (2.0, (AT - 2) * 1000),
    ]


def test_without_any_time():
    """Without a time in metric or payload, the time of arrival is used."""
    raw = encode({"metrics": [{"name": "x", "dataType": "Int8", "value": 1}]})
    assert read(ADDRESS.format("NDATA"), raw)[0].time is None


@pytest.mark.parametrize("field", ["int_value", "long_value"])
def test_integers_of_unknown_type(field):
    """A named integer without a type, which may be signed, needs its birth; other values don't."""
    plant = Plant()
    with pytest.raises(UndecodableError):
        plant.send("NDATA", [{"name": "x", "field": field, "value": 1}])
    assert values(plant.send("NDATA", [{"name": "x", "field": "double_value", "value": 1.0}])) == {"x": 1.0}


def test_an_alias_the_birth_lacks():
    """A metric that no birth defines is rejected, the others are read, and a rebirth is requested."""
    plant = Plant().born()
    wrong, good = plant.send("DDATA", [{"alias": 99, "field": "float_value", "value": 1.0},
                                       {"alias": 7, "field": "float_value", "value": 2.0}], 2)  # fmt: skip
    assert wrong.problem.reason is Reason.MISSING_BIRTH
    assert (good.quantity, good.value) == ("Flow", 2.0)
    assert plant.rebirth_requests() == 1


def test_a_bridge_in_front():
    """A namespace below other levels is accepted, and requests use the same levels."""
    plant = Plant()
    raw = encode({"metrics": [{"alias": 1, "field": "float_value", "value": 1.0}]})
    with pytest.raises(UndecodableError):
        plant.reader.read(Message("north/spBv1.0/g/NDATA/n", raw, ARRIVED), Topic())
    assert plant.reader.nodes.outbox[0].topic == "north/spBv1.0/g/NCMD/n"


def test_compressed():
    """A payload inside a payload, compressed by deflate or gzip, is decompressed."""
    inner = encode({"metrics": [{"name": "x", "dataType": "Int8", "value": -1}]})
    for pack in (zlib.compress, gzip.compress):
        assert values(read(ADDRESS.format("NDATA"), encode({"uuid": "SPBV1.0_COMPRESSED", "body": pack(inner)}))) == {
            "x": -1
        }


def test_too_large():
    """Neither a payload that decompresses to hundreds of megabytes nor a birth of many metrics fills the memory."""
    for topic, payload in (
        ("NDATA", encode({"uuid": "SPBV1.0_COMPRESSED", "body": zlib.compress(b"\x12\x00" * 50_000_000)})),
        ("NBIRTH", b"\x12\x00" * 20_001),
    ):
        with pytest.raises(UndecodableError) as caught:
            read(ADDRESS.format(topic), payload)
        assert caught.value.rejection.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("verb", ["NCMD", "DCMD"])
def test_commands(verb):
    """Commands have no reading and no effect on the session."""
    plant = Plant().born()
    plant.ignores(verb, [{"name": "x", "dataType": "Int8", "value": 1}])
    assert plant.rebirth_requests() == 0


@pytest.mark.parametrize(
    "topic",
    ["", "a", "spBv1.0", "spBv1.0/g", "spBv1.0/g/NDATA", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n", "spBv1.0/g/FOO/n",
     "spBv1.0/STATE", "xspBv1.0/g/NDATA/n", "spAv1.0/g/NDATA/n"],
)  # fmt: skip
def test_other_topics(topic):
    """A topic that is not one of Sparkplug B is refused."""
    with pytest.raises(UndecodableError):
        read(topic, b"")


def test_not_protobuf():
    """JSON, in which the specification prints examples, is refused: payloads are protobuf."""
    with pytest.raises(UndecodableError) as caught:
        read(ADDRESS.format("NDATA"), b'{"timestamp": 1486144502122}')
    assert caught.value.rejection.reason is Reason.MALFORMED


def test_names_that_are_not_utf8():
    """A name or a text that is not UTF-8 affects its metric only."""
    raw = encode(
        {
            "metrics": [
                {"name": "bad", "dataType": "Int8", "value": 1},
                {"name": "x", "dataType": "String", "value": "bad"},
            ]
        }
    )
    measurements = read(ADDRESS.format("NDATA"), raw.replace(b"bad", b"b\xffd"))
    assert [(measurement.quantity, measurement.problem.reason) for measurement in measurements] == [
        ("", Reason.MALFORMED),
        ("x", Reason.WRONG_TYPE),
    ]


def test_units():
    """The units of all spellings are UCUM codes."""
    for code in wire._UCUM.values():
        assert units.check(code)


WHOLE = [
    sparkplug_sample(name)[1] for name in ("ndata", "dbirth", "ddeath")
] + [encode({"timestamp": AT, "seq": 3, "metrics": metrics}) for metrics in (BORN, DEVICE_BORN)]  # fmt: skip
MUTATED = st.builds(
    lambda payload, at, put, cut: payload[: at % len(payload)] + put + payload[at % len(payload) + cut :],
    st.sampled_from(WHOLE),
    st.integers(0, 2000),
    st.binary(max_size=4),
    st.integers(0, 6),
)
TOPICS = st.builds(
    "/".join,
    st.tuples(
        st.sampled_from(["spBv1.0", "x"]) | st.text(max_size=3),
        st.sampled_from(["g", "STATE"]) | st.text(max_size=3),
        st.sampled_from(["NBIRTH", "NDEATH", "NDATA", "NCMD", "DBIRTH", "DDEATH", "DDATA", "x"]),
        st.sampled_from(["n", "n/d", "n/d/e"]),
    ),
)
MESSAGES = st.builds(
    Message, TOPICS, st.binary(max_size=40) | MUTATED, st.integers(ARRIVED, ARRIVED + 99), st.booleans()
)


@given(sent_messages=st.lists(MESSAGES, max_size=8), names=names_of("a"))
def test_anything(sent_messages, names):
    """For any messages in any order the reader returns measurements or raises one of the two errors of its contract."""
    reader = SparkplugFormat().reader()
    for message in sent_messages:
        holds(SimpleNamespace(reader=lambda: reader), message, names)
    for birth in reader.nodes.pending():
        Nodes().prime(birth)
    for command in reader.nodes.outbox:
        assert requests_rebirth(command.payload)


def test_births_that_wait_to_be_stored_are_bounded(monkeypatch):
    """While the database is away births are kept up to a number of bytes; the oldest are forgotten."""
    monkeypatch.setattr("collector.formats.sparkplug.nodes.MOST_BYTES", 2_500)
    known = Nodes()
    for number in range(5):
        message = Message(f"spBv1.0/g/NBIRTH/n{number}", b"x" * 1_000, number)
        known.add_birth(place(message.topic), message, Birth(number))
    assert [birth.topic[-2:] for birth in known.pending()] == ["n3", "n4"]
    known.saved(known.pending())
    assert known.pending() == []
