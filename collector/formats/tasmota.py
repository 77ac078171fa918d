"""Format ``tasmota``: Tasmota firmware (https://tasmota.github.io/docs/MQTT/), its sensors, relays and Zigbee bridges.

The last level of the topic is the kind of message, whatever the device's FullTopic puts before it. Quantities are named
as in ``tele/…/SENSOR``; so are those of ``STATUS8`` and ``STATUS10``, which have the same members one level deeper.
"""

import re
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field

from collector.formats import json_tree
from collector.formats.json_tree import Tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.name_patterns import Names, matcher, take_objects
from collector.formats.times import ARRIVAL, Arrival, Moment, arrival_of, arrival_unless_set, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError

_UNITS: dict[str, dict[str, str]] = {
    "TempUnit": {"C": "Cel", "F": "[degF]"},
    "PressureUnit": {"mmHg": "mm[Hg]", "inHg": "[in_i'Hg]"},
    "SpeedUnit": {"kn": "[kn_i]", "mph": "[mi_i]/h", "ft/s": "[ft_i]/s", "yd/s": "[yd_i]/s"},
}
"""Member of a message → its spellings that are not UCUM codes → their codes."""

_OBJECTS = re.compile(r"SENSOR|STATE|RESULT|STATUS\d*")
"""Kinds of messages that are always JSON objects."""
_SILENT = re.compile(r"LWT|INFO\d|LOGGING|config|HASS_STATE")
"""Kinds of messages without a reading: presence, start-up, discovery."""
_BRIDGES = {name.upper(): name for name in ("ZbReceived", "LwReceived", "LwDecoded")}
"""Members with the values that a Zigbee or LoRaWAN bridge received, by device."""
_SHORT_ADDRESS = re.compile(r"0x[0-9A-F]{4}")

_CACHED_NAME = 100
"""Characters; longer names are not cached, so that no message can fill the memory through the cache."""


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not a time zone of the IANA database: write one like 'UTC' or 'Europe/Athens'")
    return text


class TasmotaFormat(FormatOptions):
    """Messages of Tasmota devices: SENSOR, STATE, RESULT, POWER, STATUS8, STATUS10, STATUS11."""

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "ignore"
    publishes_state: ClassVar[bool] = True

    name: Literal["tasmota"] = "tasmota"
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None,
        description="IANA name of the devices' time zone; the member Time, which has no zone, is then the time of the "
        "readings. Default: the time of arrival, unless Time has an offset (SetOption52 1) or Epoch is sent.",
    )

    device_keys: Names = Field(
        (),
        description="Names (with * and ?) of members that are devices, as a Bluetooth gateway's MJ_HT_V1-*; nested "
        "members are joined by slashes.",
    )

    def reader(self) -> "TasmotaReader":
        """Return a reader for messages of this format."""
        return TasmotaReader(ZoneInfo(self.timezone) if self.timezone else None, self.device_keys)


class TasmotaReader:
    """Reads Tasmota's messages; ``zone`` is the zone of ``Time`` (None: a ``Time`` without an offset is not used)."""

    def __init__(self, zone: ZoneInfo | None, device_keys: tuple[str, ...] = ()) -> None:
        self._zone = zone
        self._device_keys = matcher(device_keys)

    def read(self, message: Message, topic: Topic) -> list[Measurement]:
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        return json_tree.all_measurements(self.trees(message, topic))

    def trees(self, message: Message, topic: Topic) -> list[Tree]:  # noqa: ARG002 - the end of the topic suffices
        """Return the trees in ``message``; see :class:`~collector.formats.json_tree.TreeReader`."""
        *levels, kind = message.topic.split("/")
        if "cmnd" in levels or "discovery" in levels or _SILENT.fullmatch(kind):
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"{kind[:60]} has no reading")
        document = json_tree.load_or_text(message.payload)
        if type(document) is not dict:
            return [_bare(kind, document)]
        bridge = _BRIDGES.get(kind.upper())
        if bridge is not None and bridge not in document:
            document = {bridge: document}  # SetOption118
        return [tree for part in _parts(document) for tree in self._part(part, arrival_of(message))]

    def _part(self, part: dict[str, Any], received: Arrival) -> list[Tree]:
        when = self._moment(part.pop("Time", None), part.pop("Epoch", None), received)
        trees: list[Tree] = []
        for key, members in _bridged(part).items():
            name = members.pop("Name", None)
            members.pop("Device", None)
            trees.append(_tree(members, when, name if type(name) is str and name else key))
        if self._device_keys is not None:
            trees += _devices(part, when, self._device_keys)
        trees.append(_tree(part, when, ""))
        return trees

    def _moment(self, time: Any, since_1970: Any, received: Arrival) -> Moment:
        if type(since_1970) in (int, float, str):
            return arrival_unless_set(moment(since_1970, "s"))
        if type(time) is not str:
            return ARRIVAL
        if time[-1:] != "Z" and time[-6:-5] not in ("+", "-"):
            if self._zone is None:
                return ARRIVAL
            if time[4:5] == ".":  # firmware before 5.12 wrote 2018.02.15 01:00:50
                time = time.replace(".", "-", 2)
        return arrival_unless_set(moment(time, "iso8601", self._zone, received))


def _bare(kind: str, value: Any) -> Tree:
    """Return the tree of a payload that is only a state, as in ``stat/…/POWER``."""
    if type(value) is list or _OBJECTS.fullmatch(kind):
        raise UndecodableError(Reason.MALFORMED, f"{kind[:60]} is not a JSON object")
    if value is None:
        raise NoReadingError(IgnoredReason.NULL, "null")
    return Tree({kind: value})


def _parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects with values: the message, or the objects inside a reply to the command Status."""
    if not next(iter(document), "").startswith("Status"):
        return [document]
    parts = [part for name in ("StatusSNS", "StatusSTS") if type(part := document.get(name)) is dict]
    if not parts:
        raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "a status without sensors")
    return parts


def _devices(part: dict[str, Any], when: Moment, device_keys: re.Pattern[str]) -> list[Tree]:
    """Take the members that are devices out of ``part``; their units are those of the message."""
    units = _units(dict(part))
    key = _unit_member if units else None
    return [Tree(members, "", when, name, units, key) for name, members in take_objects(part, device_keys)]


def _tree(members: dict[str, Any], when: Moment, device: str) -> Tree:
    units = _units(members)  # removes them
    return Tree(members, "", when, device, units, _unit_member if units else None)


def _units(members: dict[str, Any]) -> dict[str, str]:
    """Remove the members that name units from ``members``; return member → UCUM code."""
    by_member: dict[str, str] = {}
    for member, codes in _UNITS.items():
        if member in members:
            unit = members.pop(member)
            if type(unit) is str:
                by_member[member] = codes.get(unit, unit)
    return by_member


def _unit_member(name: str) -> str | None:
    return _cached_unit_member(name) if len(name) < _CACHED_NAME else None


@lru_cache(maxsize=4096)
def _cached_unit_member(name: str) -> str | None:
    """Return the member of a message that names the unit of quantity ``name``."""
    steps = [step for step in name.split("/") if not step.isdigit()] or [""]
    if "Speed" in steps:
        return "SpeedUnit"
    if "Temp" in steps[-1] or steps[-1] in ("DewPoint", "HeatIndex"):
        return "TempUnit"
    return "PressureUnit" if "Pressure" in steps[-1] else None


def _bridged(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Remove the values that a bridge received from ``part``; return device (short address or name) → members."""
    for name in _BRIDGES.values():
        received = part.pop(name, None)
        if type(received) is dict:
            # SetOption119 omits the device's key: then the topic, or Name, identifies the device.
            return received if all(type(value) is dict for value in received.values()) else {"": received}
    # SetOption100 omits ZbReceived.
    bare = {
        key: value
        for key, value in part.items()
        if type(value) is dict and "LinkQuality" in value and ("Device" in value or _SHORT_ADDRESS.fullmatch(key))
    }
    for key in bare:
        del part[key]
    return bare
