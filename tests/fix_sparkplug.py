"""Sparkplug in tests: payloads on the wire from what they say, and an edge node that sends them."""

import json
from pathlib import Path

from collector.formats.sparkplug_payload import Payload
from collector.formats.sparkplug_types import DataType

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
TYPES = {**{one.name.lower(): int(one) for one in DataType}, "bytes": 17, "template": 19}


def encode(content: dict) -> bytes:
    """Return the payload on the wire of ``content``, written as the specification writes its examples.

    A metric with ``dataType`` and without ``alias``, or the other way round, is sent so; ``field`` names the field
    that holds the value where it is not the type's own; ``properties`` maps keys to text or a number; ``null`` is
    is_null.
    """
    payload = Payload(**{name: content[name] for name in ("timestamp", "seq", "uuid", "body") if name in content})
    for one in content.get("metrics", ()):
        given = {name: one[name] for name in ("name", "alias", "timestamp", "is_historical") if name in one}
        metric = payload.metrics.add(**given, **({"is_null": True} if one.get("null") else {}))
        if "dataType" in one:
            metric.datatype = TYPES[one["dataType"].lower()]
        for key, entry in one.get("properties", {}).items():
            metric.properties.keys.append(key)
            kind, field = (12, "string_value") if isinstance(entry, str) else (3, "int_value")
            metric.properties.values.add(**{"type": kind, field: entry})
        if "value" in one:
            field, value = one.get("field") or FIELDS[one["dataType"]], one["value"]
            bits = {"int_value": 32, "long_value": 64}.get(field)
            setattr(metric, field, value if bits is None else value % (1 << bits))  # two's complement
    return payload.SerializeToString()


def sparkplug_sample(name: str) -> tuple[str, bytes]:
    """Return topic and payload on the wire of a sample of tests/payloads."""
    content = json.loads((PAYLOADS / f"sparkplug_b_{name}.json").read_text())
    return content["topic"], encode(content["payload"])


def requests_rebirth(payload: bytes) -> bool:
    """Say whether ``payload`` is a rebirth request and nothing else."""
    metrics = Payload.FromString(payload).metrics
    return [(one.name, one.boolean_value) for one in metrics] == [("Node Control/Rebirth", True)]
