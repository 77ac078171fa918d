"""Format ``zwave_js``: Z-Wave JS UI (https://zwave-js.github.io/zwave-js-ui/#/usage/setup?id=gateway).

Each topic has one value, in one of three payload types: time and value, the entire ValueID object, or the bare value.
The levels below the node name the quantity: ``sensor_multilevel/endpoint_0/Air_temperature``.
"""

from typing import Any, ClassVar, Literal

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.times import ARRIVAL, Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError

_GATEWAY = frozenset(["_CLIENTS", "_EVENTS"])
_NODE = frozenset(["status", "lastActive", "nodeinfo"])
"""Topics directly below a node that describe the node itself."""

_TIME_VALUE = frozenset(["time", "value"])

_UNITS = {
    "°C": "Cel",
    "°F": "[degF]",
    "°": "deg",
    "lux": "lx",
    "Lux": "lx",
    "kWh": "kW.h",
    "kVAh": "kV.A.h",
    "kVar": "kV.A",
    "kVarh": "kV.A.h",
    "V/m": "V/m",
    "μg/m³": "ug/m3",
    "µg/m³": "ug/m3",
    "ppm": "[ppm]",
    "mmHg": "mm[Hg]",
    "inHg": "[in_i'Hg]",
    "m³": "m3",
    "m³/h": "m3/h",
    "l": "L",
    "l/h": "L/h",
    "mph": "[mi_i]/h",
    "bpm": "/min",
    "rpm": "/min",
    "RPM": "/min",
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "days": "d",
}
"""Unit as Z-Wave JS spells it → UCUM code."""


class ZwaveJsFormat(FormatOptions):
    """Messages of Z-Wave JS UI, with one value per topic."""

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "ignore"
    publishes_state: ClassVar[bool] = True

    name: Literal["zwave_js"] = "zwave_js"

    def reader(self) -> "ZwaveJsReader":
        """Return a reader for messages of this format."""
        return ZwaveJsReader()


class ZwaveJsReader:
    """Reads Z-Wave JS UI's messages."""

    def read(self, message: Message, topic: Topic) -> list[Measurement]:
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        levels = message.topic.split("/")
        last = levels[-1]
        quantity = topic.names.get("quantity") or topic.names.get("#") or last
        if last == "set" or quantity in _NODE or not _GATEWAY.isdisjoint(levels) or levels[-2:] == ["driver", "status"]:
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "about the gateway or a node, or a command")
        value, unit, (time, problem) = _value(json_tree.load_or_text(message.payload))
        if value is None:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value")
        if type(value) is not dict and type(value) is not list:
            return [Measurement(quantity, value, time, unit, "", problem)]
        measurements = json_tree.measurements(value, f"{quantity}/", (time, problem))
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value")
        return measurements


def _value(document: Any) -> tuple[Any, str | None, Moment]:
    """Return the value in ``document`` (null: none), its unit and its time."""
    if type(document) is not dict:
        return document, None, ARRIVAL
    document.pop("nodeName", None)  # "Include Node info"
    document.pop("nodeLocation", None)
    if document.keys() <= _TIME_VALUE:
        return document.get("value"), None, moment(document.get("time"), "ms")
    if "commandClass" in document and "property" in document:
        unit = document.get("unit")
        known = _UNITS.get(unit, unit) if type(unit) is str else None
        return document.get("value"), known or None, moment(document.get("lastUpdate"), "ms")
    return document, None, ARRIVAL
