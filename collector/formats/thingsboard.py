"""Format ``thingsboard``: ThingsBoard's MQTT API for devices and for gateways, JSON payloads.

Telemetry (https://thingsboard.io/docs/reference/mqtt-api/) is an object of keys and values, or of ``ts`` (milliseconds
since 1970) and ``values``, or a list of such; a gateway's (https://thingsboard.io/docs/reference/gateway-mqtt-api/) is
an object of these by device.
"""

from typing import Any, Literal

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.times import ARRIVAL, Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UnusableError, quoted

_SILENT = frozenset(["attributes", "connect", "disconnect", "rpc", "claim", "provision", "response", "request"])
"""Levels of topics without telemetry; the number of a request may follow them."""


class ThingsboardFormat(FormatOptions):
    """Telemetry that devices and gateways send to ThingsBoard."""

    name: Literal["thingsboard"] = "thingsboard"

    def reader(self) -> "ThingsboardReader":
        """Return a reader for messages of this format."""
        return ThingsboardReader()


class ThingsboardReader:
    """Reads ThingsBoard's messages."""

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - topic and payload suffice
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        levels = message.topic.split("/")
        if not _SILENT.isdisjoint(levels[-3:]):
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "attributes, a connection or a call")
        document = json_tree.load(message.payload)
        measurements: list[Measurement] = []
        if type(document) is dict and ("gateway" in levels or ("devices" not in levels and _by_device(document))):
            for device, telemetry in document.items():
                measurements += _measurements(telemetry, device)
        else:
            measurements = _measurements(document, "")
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value in the message")
        return measurements


def _by_device(document: dict[str, Any]) -> bool:
    """Return whether ``document`` looks like a gateway's, for topics that are not ThingsBoard's own."""
    return bool(document) and all(
        type(records) is list and len(records) > 0 and type(records[0]) is dict and "values" in records[0]
        for records in document.values()
    )


def _measurements(telemetry: Any, device: str) -> list[Measurement]:
    measurements: list[Measurement] = []
    for record in telemetry if type(telemetry) is list else (telemetry,):
        values, when = _record(record)
        if type(values) is dict:
            measurements += json_tree.measurements(values, "", when, device)
        else:
            problem = UnusableError(Reason.MALFORMED, f"expected an object of keys and values, got {quoted(values)}")
            measurements.append(Measurement("", 0, when[0], None, device, problem))
    return measurements


def _record(record: Any) -> tuple[Any, Moment]:
    """Return the values in ``record`` and their time; valid values are an object."""
    if type(record) is dict and "values" in record:
        if "ts" in record:
            return record["values"], moment(record["ts"], "ms")
        if len(record) == 1:  # the gateway API allows records without ts
            return record["values"], ARRIVAL
    return record, ARRIVAL
