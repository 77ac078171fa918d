"""Format ``zwave_js``: Z-Wave JS UI (https://zwave-js.github.io/zwave-js-ui/#/usage/setup?id=gateway).

One value a topic, in any of its three payload types: time and value, the entire ValueID object, or the bare value.
The topic's rest below the node names the quantity: ``sensor_multilevel/endpoint_0/Air_temperature``.
"""

from typing import Any, ClassVar, Literal

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.times import ARRIVAL, Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError

_GATEWAY = frozenset(["_CLIENTS", "_EVENTS"])
_NODE = frozenset(["status", "lastActive", "nodeinfo"])
"""Topics right below a node that are about the node itself."""

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
"""Units as Z-Wave JS spells them → UCUM codes."""


class ZwaveJsFormat(FormatOptions):
    """What Z-Wave JS UI publishes, one value a topic."""

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
        found = json_tree.measurements(value, f"{quantity}/", (time, problem))
        if not found:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value")
        return found


def _value(document: Any) -> tuple[Any, str | None, Moment]:
    """Return the value in ``document`` (null: none), its unit, and its time in milliseconds."""
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
