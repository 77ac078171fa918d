"""Format ``chirpstack``: events of the LoRaWAN network server ChirpStack, version 4 and the JSON of version 3.

Events: https://www.chirpstack.io/docs/chirpstack/integrations/events.html; those of version 3:
https://www.chirpstack.io/application-server/integrations/events/.
"""

import base64
import binascii
from typing import Any, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.history import HistoryOptions, take_history
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.name_patterns import Names, drop, matcher, take_objects
from collector.formats.times import Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError

_OTHER_EVENTS = frozenset(("join", "ack", "txack", "log", "location", "integration", "error", "down", "tx", "rx"))
_EUI = 8
"""Bytes."""

Values = list[tuple[str, float | bool | str, str | None]]
"""Quantity, value, unit."""


class ChirpstackFormat(FormatOptions):
    """Events of ChirpStack 4 or 3 as JSON; quantities are the members of the decoded object."""

    unlisted = "ignore"

    name: Literal["chirpstack"] = "chirpstack"
    device: Literal["eui", "name"] = Field("eui", description="What identifies a device: its DevEUI or its name.")
    radio: bool = Field(False, description="Also read signal strengths, as rxInfo/0/rssi and rxInfo/0/snr.")
    history: HistoryOptions | None = Field(None, description="Where the decoded object has earlier readings.")
    ignore: Names = Field((), description="Members of the decoded object (with * and ?) that are not read.")
    device_keys: Names = Field(
        (),
        description="Names (with * and ?) of members of the decoded object that are devices, as of a meter gateway; "
        "nested members are joined by slashes.",
    )

    def reader(self) -> Reader:
        """Return a reader for events."""
        return ChirpstackReader(self)


class ChirpstackReader:
    """Reads the events ``up`` (the decoded object) and ``status`` (``margin`` and ``batteryLevel``)."""

    def __init__(self, options: ChirpstackFormat) -> None:
        self._by_name = options.device == "name"
        self._radio = options.radio
        self._history = options.history
        self._ignore = matcher(options.ignore)
        self._device_keys = matcher(options.device_keys)

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        event = message.topic.rpartition("/")[2]
        if event in _OTHER_EVENTS:
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"event {event}")
        document = json_tree.load_object(message.payload)
        info = document.get("deviceInfo")
        if type(info) is not dict:
            info = document  # version 3
        device = info.get("deviceName") if self._by_name else _eui(info.get("devEui", info.get("devEUI")))
        if type(device) is not str:
            raise UndecodableError(Reason.MALFORMED, "no ChirpStack device in the event")
        time, problem = _instant(document)
        if event == "status" or "margin" in document:
            return [Measurement(name, value, time, unit, device, problem) for name, value, unit in _status(document)]
        decoded = _decoded(document)
        drop(decoded, self._ignore)
        measurements: list[Measurement] = []
        for member, part in take_objects(decoded, self._device_keys):
            measurements += take_history(part, self._history, member)
            measurements += json_tree.measurements(part, "", (time, problem), member)
        measurements += take_history(decoded, self._history, device)
        values = self._uplink(document, decoded, is_empty=not measurements)
        return measurements + [Measurement(name, value, time, unit, device, problem) for name, value, unit in values]

    def _uplink(self, document: dict[str, Any], decoded: dict[str, Any], *, is_empty: bool) -> Values:
        values: Values = [(name, value, None) for name, value in json_tree.leaves(decoded)]
        receptions = document.get("rxInfo") if self._radio else None
        for index, reception in enumerate(receptions if type(receptions) is list else ()):
            if type(reception) is dict:
                for name, value, unit in (
                    ("rssi", reception.get("rssi"), None),
                    ("snr", reception.get("snr", reception.get("loRaSNR")), "dB"),
                ):
                    if value is not None and type(value) in (int, float):
                        values.append((f"rxInfo/{index}/{name}", value, unit))
        if not values and is_empty:
            raise NoReadingError(
                IgnoredReason.NO_DECODED_PAYLOAD,
                "an uplink without a decoded object: the device profile has no codec, or it failed",
            )
        return values


def _decoded(document: dict[str, Any]) -> dict[str, Any]:
    """Return the object that the device profile's codec decoded from the payload."""
    decoded = document.get("object")
    text = document.get("objectJSON")
    if decoded is None and type(text) is str and text:  # version 3 with its own JSON encoding
        decoded = json_tree.load_object(text.encode("utf-8", "replace"))
    return decoded if type(decoded) is dict else {}


def _status(document: dict[str, Any]) -> Values:
    """Return the answer to LoRaWAN's DevStatusReq: margin in dB, battery in percent.

    The JSON mapping of Protocol Buffers omits members that are 0, so an absent margin is 0 dB. The battery level has
    no meaning where power is external or the device can't measure it.
    """
    values: Values = [("margin", document.get("margin", 0), "dB")]
    if not (document.get("externalPowerSource") or document.get("batteryLevelUnavailable")):
        values.append(("batteryLevel", document.get("batteryLevel", 0), "%"))
    return [value for value in values if type(value[1]) in (int, float, str, bool)]


def _eui(raw: Any) -> Any:
    """Return an EUI in hexadecimal digits; the Protocol Buffers JSON of version 3 writes it in base64."""
    if type(raw) is str and len(raw) == 12:  # noqa: PLR2004 - eight bytes in base64
        try:
            eui = base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError):
            return raw
        return eui.hex() if len(eui) == _EUI else raw
    return raw


def _instant(document: dict[str, Any]) -> Moment:
    """Return the time at which the server (in version 3 a gateway) received the event."""
    raw = document.get("time") or document.get("publishedAt")
    receptions = document.get("rxInfo")
    if raw is None and type(receptions) is list:
        times = (reception.get("time") for reception in receptions if type(reception) is dict)
        raw = next(filter(None, times), None)
    return moment(raw, "iso8601")
