"""Format ``zigbee2mqtt``: Zigbee2MQTT (https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html).

A device publishes on ``<base topic>/<friendly name>``; the friendly name may have slashes. With ``output: attribute``
each attribute has its own topic below that, with its bare value as payload.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.times import ARRIVAL, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError

_SILENT = frozenset(["availability", "set", "get"])
"""Levels below a device that have no reading: presence and commands."""


class Zigbee2mqttFormat(FormatOptions):
    """Messages of Zigbee2MQTT for its devices and groups."""

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "ignore"
    publishes_state: ClassVar[bool] = True

    name: Literal["zigbee2mqtt"] = "zigbee2mqtt"
    time: Literal["last_seen", "arrival"] = Field(
        "last_seen",
        description="last_seen: the member last_seen, else the time of arrival; arrival: always the time of arrival, "
        "for devices whose state Zigbee2MQTT also changes without a message from them (switches, occupancy timeouts).",
    )

    def reader(self) -> "Zigbee2mqttReader":
        """Return a reader for messages of this format."""
        return Zigbee2mqttReader(arrival=self.time == "arrival")


class Zigbee2mqttReader:
    """Reads Zigbee2MQTT's messages; with ``arrival`` the member ``last_seen`` is not used."""

    def __init__(self, *, arrival: bool) -> None:
        self._arrival = arrival

    def read(self, message: Message, topic: Topic) -> list[Measurement]:
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        levels = message.topic.split("/")
        if "bridge" in levels[1:]:
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "describes Zigbee2MQTT itself")
        if not _SILENT.isdisjoint(levels[-2:]):
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "availability or a command")
        document = json_tree.load_or_text(message.payload)
        names = topic.names
        below = names.get("#", "")
        if type(document) is not dict:
            return [_attribute(document, names.get("quantity") or below)]
        last_seen = document.pop("last_seen", None)
        document.pop("device", None)  # include_device_information: model, address, firmware
        when = ARRIVAL if self._arrival else moment(last_seen, "iso8601" if type(last_seen) is str else "ms")
        # In a pattern that ends in #, its value is the rest of a friendly name with slashes.
        device = f"{names['sensor']}/{below}" if below and "sensor" in names else below
        measurements = json_tree.measurements(document, "", when, device)
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, "no value in the message")
        return measurements


def _attribute(value: Any, quantity: str) -> Measurement:
    """Return the measurement of a payload that is one attribute."""
    if not quantity or type(value) is list:
        raise UndecodableError(Reason.MALFORMED, "not a JSON object, and the topic names no attribute")
    if value is None:
        raise NoReadingError(IgnoredReason.NULL, "null")
    return Measurement(quantity, value)
