"""Format ``shelly``: Shelly devices of all generations.

From generation 2 on (https://shelly-api-docs.shelly.cloud/gen2/General/Notifications) a change is published twice: as
a notification on ``<prefix>/events/rpc``, with its time and the changed members, and as the whole status of its
component on ``<prefix>/status/<component>``. Both have the same quantities: ``switch:0/apower``. Generation 1
(https://shelly-api-docs.shelly.cloud/gen1/) has one bare value per topic, and the JSON document ``info``.
"""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.json_tree import Tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.name_patterns import Names, matcher, take_objects
from collector.formats.times import ARRIVAL, Moment, arrival_unless_set, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError

_SILENT = frozenset(["online", "announce", "command", "rpc", "debug", "longpush", "input_event"])
"""Last or second last levels of topics without a reading: presence, commands and their replies, button events."""

_UNITS = {"tC": "Cel", "tF": "[degF]"}
"""Members whose name implies a unit → its UCUM code."""


class ShellyFormat(FormatOptions):
    """Messages of Shelly devices: notifications, component status, and the values and info of generation 1."""

    unlisted: ClassVar[Literal["ignore", "quarantine"]] = "ignore"
    publishes_state: ClassVar[bool] = True

    name: Literal["shelly"] = "shelly"
    only: Literal["rpc", "status"] | None = Field(
        None,
        description="From generation 2 on each change is published on events/rpc and on status/…: which of them to "
        "read. Default: both; then subscribe to one of them only.",
    )
    device_keys: Names = Field(
        (), description="Names (with * and ?) of components that are devices, as a Bluetooth gateway's bthomesensor:*."
    )

    def reader(self) -> "ShellyReader":
        """Return a reader for messages of this format."""
        return ShellyReader(self.only, matcher(self.device_keys))


class ShellyReader:
    """Reads Shelly's messages; ``only``: component status (``status``), notifications (``rpc``) or both (None)."""

    def __init__(self, only: str | None, device_keys: re.Pattern[str] | None) -> None:
        self._only = only
        self._device_keys = device_keys

    def read(self, message: Message, topic: Topic) -> list[Measurement]:
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        return json_tree.all_measurements(self.trees(message, topic))

    def trees(self, message: Message, topic: Topic) -> list[Tree]:
        """Return the trees in ``message``; see :class:`~collector.formats.json_tree.TreeReader`."""
        levels = ["", *message.topic.split("/")]
        above, last = levels[-2:]
        if last == "rpc" and above == "events":
            self._check("rpc")
            return _notification(json_tree.load_object(message.payload), self._device_keys)
        if last in _SILENT or above in _SILENT:
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "presence, a command or an event")
        if above == "status":
            self._check("status")
            status = _component(message.payload)
            is_device = self._device_keys is not None and self._device_keys.fullmatch(last)
            prefix, device = ("", last) if is_device else (f"{last}/", "")
            return [Tree(status, prefix, _own_time(status, ARRIVAL), device, _UNITS)]
        return [_generation_1(message.payload, last, topic.names.get("#"))]

    def _check(self, kind: str) -> None:
        if self._only not in (None, kind):
            raise NoReadingError(IgnoredReason.IGNORED_BY_REGISTRY, f"the format's option only is {self._only!r}")


def _notification(frame: dict[str, Any], device_keys: re.Pattern[str] | None) -> list[Tree]:
    method, params = frame.get("method"), frame.get("params")
    if method not in ("NotifyStatus", "NotifyFullStatus", "NotifyEvent"):
        raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "a request or a reply")
    if type(params) is not dict:
        raise UndecodableError(Reason.MALFORMED, "a notification without params")
    when = arrival_unless_set(moment(params.pop("ts", None), "s"))
    if method == "NotifyEvent":
        return _events(params.get("events"), when)
    trees: list[Tree] = []
    if device_keys is not None:
        for name, component in take_objects(params, device_keys):
            trees.append(Tree(component, "", _own_time(component, when), name, _UNITS))
    for name in [name for name, component in params.items() if _has_own_time(component)]:
        component = params.pop(name)
        trees.append(Tree(component, f"{name}/", _own_time(component, when), units=_UNITS))
    # An empty tree only where it is the only one: reading it gives the reason why there is nothing to read.
    return [*trees, Tree(params, "", when, units=_UNITS)] if params or not trees else trees


def _has_own_time(component: Any) -> bool:
    return type(component) is dict and not (component.get("last_updated_ts") is None and component.get("ts") is None)


def _own_time(component: dict[str, Any], when: Moment) -> Moment:
    """Return the time that ``component`` has itself, when it last changed, else ``when``."""
    raw = component.get("last_updated_ts")
    if raw is None:
        raw = component.get("ts")
    return when if raw is None else arrival_unless_set(moment(raw, "s"))


def _events(events: Any, when: Moment) -> list[Tree]:
    """Return the data of ``events``: what a script or a gateway received from Bluetooth sensors (BLU).

    The sensor is the ``address`` in the data. Quantities are named as in the data, and with their component too, as
    those of a status are.
    """
    trees: list[Tree] = []
    for event in events if type(events) is list else ():
        data = event.get("data") if type(event) is dict else None
        if type(data) is dict and data:
            address, component = data.pop("address", None), event.get("component")
            device = address if type(address) is str else ""
            own = _own_time(event, when)
            trees.append(Tree(data, "", own, device, units=_UNITS))
            if type(component) is str:
                trees.append(Tree(data, f"{component}/", own, device, units=_UNITS))
    if not trees:
        raise NoReadingError(IgnoredReason.NOT_TELEMETRY, "an event without data")
    return trees


def _component(payload: bytes) -> dict[str, Any]:
    status = json_tree.load(payload)
    if status is None:
        raise NoReadingError(IgnoredReason.NULL, "null")
    if type(status) is not dict:
        raise UndecodableError(Reason.MALFORMED, "JSON, but not an object")
    return status


def _generation_1(payload: bytes, last: str, below: str | None) -> Tree:
    """Return the tree of a message of generation 1; ``below``: the levels below the device's topic."""
    document = json_tree.load_or_text(payload)
    if type(document) is dict:
        if last == "info":
            when = arrival_unless_set(moment(document.pop("unixtime", None), "s"))
            _drop_invalid(document)
            return Tree(document, "", when, units=_UNITS)
        return Tree(document, f"{below}/" if below else "", units=_UNITS)
    if type(document) is list:
        raise UndecodableError(Reason.MALFORMED, "a JSON array, which Shelly devices don't send")
    return Tree({below or last: document})


def _drop_invalid(status: dict[str, Any]) -> None:
    """Set the meters and sensors whose ``is_valid`` is false to null: they measured nothing."""
    for name, part in status.items():
        if type(part) is dict:
            if part.get("is_valid") is False:
                status[name] = None
        elif type(part) is list:
            for index, item in enumerate(part):
                if type(item) is dict and item.get("is_valid") is False:
                    part[index] = None
