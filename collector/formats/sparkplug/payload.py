"""The message of Sparkplug B, org.eclipse.tahu.protobuf.Payload, for Google's protobuf library.

Names, numbers and types of the fields are those of the specification, version 3.0, section 6.4.1 "Google Protocol
Buffer Schema" (https://sparkplug.eclipse.org/specification/). The descriptor is built here: no package with it is
compatible with the current MQTT client, and a generated module would depend on the version of its generator.
Fields that are not read (DataSet, Template, MetaData, nested property sets) are declared as bytes.
"""

import zlib
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from collector.message import Reason, UndecodableError, UnusableError

_PACKAGE = "org.eclipse.tahu.protobuf"
_TYPES = {"uint64": 4, "bool": 8, "string": 9, "message": 11, "bytes": 12, "uint32": 13, "float": 2, "double": 1}
"""Values of FieldDescriptorProto.Type (google/protobuf/descriptor.proto)."""
_OPTIONAL, _REPEATED = 1, 3

# Each field is "name number type", with a * where it is repeated and a | where it is in the oneof "value"; other types
# than those above are messages.
_MESSAGES = {
    "Payload": "timestamp 1 uint64, metrics 2 Metric *, seq 3 uint64, uuid 4 string, body 5 bytes",
    "Metric": "name 1 string, alias 2 uint64, timestamp 3 uint64, datatype 4 uint32, is_historical 5 bool, "
    "is_transient 6 bool, is_null 7 bool, metadata 8 bytes, properties 9 PropertySet, int_value 10 uint32 |, "
    "long_value 11 uint64 |, float_value 12 float |, double_value 13 double |, boolean_value 14 bool |, "
    "string_value 15 string |, bytes_value 16 bytes |, dataset_value 17 bytes |, template_value 18 bytes |, "
    "extension_value 19 bytes |",
    "PropertySet": "keys 1 string *, values 2 PropertyValue *",
    "PropertyValue": "type 1 uint32, is_null 2 bool, int_value 3 uint32 |, long_value 4 uint64 |, "
    "float_value 5 float |, double_value 6 double |, boolean_value 7 bool |, string_value 8 string |, "
    "propertyset_value 9 bytes |, propertysets_value 10 bytes |, extension_value 11 bytes |",
}


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields.split(", "):
            field, number, kind, *mark = line.split()
            added = message.field.add(name=field, number=int(number), label=_REPEATED if "*" in mark else _OPTIONAL)
            added.type = _TYPES.get(kind, _TYPES["message"])
            if kind not in _TYPES:
                added.type_name = f".{_PACKAGE}.{kind}"
            if "|" in mark:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                added.oneof_index = 0
    # A separate pool: another module of this process may register the same package.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


Payload: Any = _message_class()
"""Class of the protobuf message."""

# Methods of the class: to look a method up in a message takes as long as to call it.
_metric_class = type(Payload().metrics.add())
has, which = _metric_class.HasField, _metric_class.WhichOneof

_COMPRESSED = "SPBV1.0_COMPRESSED"
"""Payload.uuid of a payload within a payload (Eclipse Tahu, CompressedPayload)."""
_LARGEST = 16_000_000
"""Bytes, unpacked."""

GOOD = 192
"""Property Quality of a good value; 0 is bad, 500 is stale (section 6.4.11)."""

_UNIT_KEYS = frozenset(("engUnit", "engUnits", "EngUnit", "EngUnits", "unit", "units"))
"""Properties with a unit. The specification defines none; Ignition's modules send engUnit."""

_UCUM = {
    "°C": "Cel", "ºC": "Cel", "C": "Cel", "degC": "Cel", "deg C": "Cel", "Celsius": "Cel", "celsius": "Cel",
    "°F": "[degF]", "ºF": "[degF]", "F": "[degF]", "degF": "[degF]", "deg F": "[degF]", "Fahrenheit": "[degF]",
    "%RH": "%", "% RH": "%", "percent": "%", "Volts": "V", "volts": "V", "Amps": "A", "amps": "A", "Watts": "W",
    "watts": "W", "Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h", "VA": "V.A", "kVA": "kV.A", "VAR": "V.A", "var": "V.A",
    "kvar": "kV.A", "kVAR": "kV.A", "RPM": "/min", "rpm": "/min", "bpm": "/min", "psi": "[psi]", "PSI": "[psi]",
    "ppm": "[ppm]", "ppb": "[ppb]", "°": "deg", "gal": "[gal_us]", "GPM": "[gal_us]/min", "gpm": "[gal_us]/min",
    "ft": "[ft_i]", "in": "[in_i]", "mi": "[mi_i]", "mph": "[mi_i]/h", "lb": "[lb_av]", "lbs": "[lb_av]",
    "inHg": "[in_i'Hg]", "mmHg": "mm[Hg]", "inH2O": "[in_i'H2O]", "m³": "m3", "m³/h": "m3/h", "m^3/h": "m3/h",
    "µg/m³": "ug/m3", "m²": "m2", "pH": "[pH]", "sec": "s", "hr": "h", "lux": "lx", "Ω": "Ohm", "ohm": "Ohm",
}  # fmt: skip
"""Spellings that are not UCUM codes, or are codes of another unit: C is not coulomb here, and F is not farad."""


def parse(raw: bytes) -> tuple[Any, bytes]:
    """Return the payload in ``raw`` and the bytes it was parsed from, both unpacked where they are compressed.

    Raises :class:`UndecodableError`.
    """
    try:
        payload = Payload.FromString(raw)
        if payload.uuid == _COMPRESSED:
            unpack = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # of zlib or of gzip, whichever header it has
            raw = unpack.decompress(payload.body, _LARGEST)
            if unpack.unconsumed_tail:
                raise UndecodableError(Reason.TOO_LARGE, f"more than {_LARGEST} bytes when unpacked")
            payload = Payload.FromString(raw)
    except (DecodeError, zlib.error) as error:
        raise UndecodableError(Reason.MALFORMED, f"not a Sparkplug B payload: {error}") from error
    return payload, raw


def check_quality(metric: Any) -> None:
    """Raise :class:`UnusableError` where ``metric`` has a quality other than good."""
    if not has(metric, "properties"):
        return
    for key, entry in zip(metric.properties.keys, metric.properties.values, strict=False):
        kind = entry.WhichOneof("value") if key == "Quality" else None
        if kind in ("int_value", "long_value") and (quality := getattr(entry, kind)) != GOOD:
            raise UnusableError(Reason.BAD_QUALITY, f"quality {quality}; {GOOD} is good")


def unit_of(metric: Any) -> str | None:
    """Return the UCUM code of the unit of ``metric``; its own spelling where no code is known."""
    if not has(metric, "properties"):
        return None
    for key, entry in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key in _UNIT_KEYS and type(entry.string_value) is str and entry.string_value:
            spelled: str = entry.string_value.strip()
            return _UCUM.get(spelled, spelled)
    return None
