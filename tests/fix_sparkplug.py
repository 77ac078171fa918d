"""Sparkplug in tests: encoding of payloads, and an edge node that sends them."""

import json
from pathlib import Path

import pytest
from fix_formats import ARRIVED, named

from collector.formats.measurement import Topic
from collector.formats.sparkplug.payload import Payload
from collector.formats.sparkplug.reader import SparkplugFormat
from collector.formats.sparkplug.types import DataType
from collector.message import Message, NoReadingError

PAYLOADS = Path(__file__).parent / "payloads"
FIELDS = {
    **dict.fromkeys(("Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32"), "int_value"),
    **dict.fromkeys(("Int64", "UInt64", "DateTime"), "long_value"),
    **dict.fromkeys(("String", "Text", "UUID"), "string_value"),
    "Float": "float_value",
    "Double": "double_value",
    "Boolean": "boolean_value",
    "Bytes": "bytes_value",
    "DataSet": "dataset_value",
    "Template": "template_value",
}
SECOND = 1_000_000
AT = 1486144502122
"""Milliseconds since 1970."""
ADDRESS = "spBv1.0/Plant A/{}/edge 1"
NODE, DEVICE = "Plant A/edge 1", "Plant A/edge 1/pump"
BORN = [
    {"name": "bdSeq", "dataType": "Int64", "value": 4},
    {"name": "Node Control/Rebirth", "dataType": "Boolean", "value": False},
    {"name": "Load", "alias": 0, "dataType": "Int16", "value": -3, "properties": {"engUnit": "%"}},
]
DEVICE_BORN = [
    {"name": "Flow", "alias": 7, "dataType": "Float", "value": 1.5, "properties": {"engUnit": "m³/h", "Quality": 192}},
    {"name": "Level", "alias": 8, "dataType": "Int32", "value": -70000},
    {"name": "State", "alias": 9, "dataType": "String", "null": True},
]
TYPES = {**{datatype.name.lower(): int(datatype) for datatype in DataType}, "bytes": 17, "template": 19}


def encode(content: dict) -> bytes:
    """Return the encoded payload of ``content``, which has the form of the examples in the specification.

    A metric may omit ``dataType`` or ``alias``; ``field`` names the field of the value where it is not that of the
    type; ``properties`` maps keys to text, a number, or (datatype, field, number); ``null`` is is_null.
    """
    payload = Payload(**{name: content[name] for name in ("timestamp", "seq", "uuid", "body") if name in content})
    for entry in content.get("metrics", ()):
        given = {name: entry[name] for name in ("name", "alias", "timestamp", "is_historical") if name in entry}
        metric = payload.metrics.add(**given, **({"is_null": True} if entry.get("null") else {}))
        if "dataType" in entry:
            metric.datatype = TYPES[entry["dataType"].lower()]
        for key, property_value in entry.get("properties", {}).items():
            metric.properties.keys.append(key)
            kind, field, raw = property_value if isinstance(property_value, tuple) else typed(property_value)
            metric.properties.values.add(**{"type": kind, field: raw})
        if "value" in entry:
            field, value = entry.get("field") or FIELDS[entry["dataType"]], entry["value"]
            bits = {"int_value": 32, "long_value": 64}.get(field)
            setattr(metric, field, value if bits is None else value % (1 << bits))  # two's complement
    return payload.SerializeToString()


def typed(property_value: str | int) -> tuple[int, str, str | int]:
    """Return datatype, field and value of a property: a String or an Int32."""
    return (12, "string_value", property_value) if isinstance(property_value, str) else (3, "int_value", property_value)


def sparkplug_sample(name: str) -> tuple[str, bytes]:
    """Return the topic and the encoded payload of a sample of tests/payloads."""
    content = json.loads((PAYLOADS / f"sparkplug_b_{name}.json").read_text())
    return content["topic"], encode(content["payload"])


def requests_rebirth(payload: bytes) -> bool:
    """Return whether ``payload`` is a rebirth request and nothing else."""
    metrics = Payload.FromString(payload).metrics
    return [(metric.name, metric.boolean_value) for metric in metrics] == [("Node Control/Rebirth", True)]


class Plant:
    """A reader, and the messages of one edge node, which arrive at intervals of a second."""

    def __init__(self, **options) -> None:
        self.reader = SparkplugFormat(**options).reader()
        self.now = ARRIVED

    def send(self, verb: str, metrics: list | None = None, seq: int | None = None, **more):
        """Read a message of the node, or of its device where the verb begins with D; return the measurements."""
        self.now += more.pop("after", 1) * SECOND
        content = {"timestamp": AT, "metrics": metrics or [], **more} | ({} if seq is None else {"seq": seq})
        topic = ADDRESS.format(verb) + ("/pump" if verb[0] == "D" else "")
        return named(self.reader.read(Message(topic, encode(content), self.now), Topic()))

    def ignores(self, verb: str, metrics: list | None = None, seq: int | None = None) -> None:
        """Read a message that must have no reading."""
        with pytest.raises(NoReadingError):
            self.send(verb, metrics, seq)

    def born(self) -> "Plant":
        """Send both births, with sequence numbers 0 and 1."""
        self.send("NBIRTH", BORN, 0)
        self.send("DBIRTH", DEVICE_BORN, 1)
        return self

    def rebirth_requests(self) -> int:
        """Return and forget the number of rebirths requested from the node."""
        outbox = self.reader.nodes.outbox
        for command in outbox:
            assert (command.topic, command.qos, command.retain) == (ADDRESS.format("NCMD"), 0, False)
            assert requests_rebirth(command.payload)
        requests = len(outbox)
        outbox.clear()
        return requests


def read(topic: str, payload: bytes) -> list:
    """Read one message with a new reader."""
    return named(SparkplugFormat().reader().read(Message(topic, payload, ARRIVED), Topic()))
