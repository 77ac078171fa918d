"""Format ``opcua_pubsub``: OPC UA PubSub in JSON (OPC 10000-14, encoding OPC 10000-6), as OPC Publisher sends it.

Understood are network messages, single data set messages and bare data sets, one or a list of them, with or without
``DataValue`` around the fields, reversible encoding too, and OPC Publisher's older mode "Samples"
(https://github.com/Azure/Industrial-IoT/blob/main/docs/opc-publisher/messageformats.md).
"""

import re
from typing import Any, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Topic
from collector.formats.times import ARRIVAL, Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError, quoted

_FRAMES = frozenset([None, "ua-keyframe", "ua-deltaframe"])
"""Data set messages that hold values; the others are events, conditions and signs of life."""

_NULL_TIME = "0001-01-01T00:00:00"
"""How a DateTime that is null begins (OPC 10000-6, 5.4.2.6)."""

_NUMBER_AS_TEXT = re.compile(r"-?(0|[1-9]\d{0,19})|NaN|-?Infinity")
"""Numbers that OPC 10000-6, 5.4.2 writes as text: those of 64 bits, and those that are none."""

_STRING = (12, "String")
"""The built-in type whose values are text even where they look like numbers."""

_GZIP = b"\x1f\x8b"

_DATA_VALUE = frozenset(["Value", "StatusCode", "Status", "SourceTimestamp", "ServerTimestamp"])
"""Members that tell a DataValue from a structure."""


class OpcuaPubsubFormat(FormatOptions):
    """OPC UA PubSub messages in JSON."""

    name: Literal["opcua_pubsub"] = "opcua_pubsub"
    device: Literal["writer", "publisher"] | None = Field(
        "writer",
        description="What names the sensor beside the topic: the DataSetWriterName (else DataSetWriterId), the "
        "PublisherId, or null: the topic alone.",
    )
    uncertain: Literal["hold", "keep"] = Field(
        "hold", description="What becomes of values whose status is uncertain: quarantine, or readings like any other."
    )

    def reader(self) -> "OpcuaPubsubReader":
        """Return a reader for messages of this format."""
        return OpcuaPubsubReader(self.device, keep_uncertain=self.uncertain == "keep")


class OpcuaPubsubReader:
    """Reads PubSub messages; ``device`` says what names the sensor (see the options)."""

    def __init__(self, device: str | None, *, keep_uncertain: bool) -> None:
        self._device = device
        self._worst = 1 if keep_uncertain else 0

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the payload says all
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        if message.payload.startswith(_GZIP):
            raise UndecodableError(Reason.MALFORMED, "compressed with gzip; set the publisher's encoding to plain JSON")
        found: list[Measurement] = []
        for document in _objects(json_tree.load(message.payload)):
            self._document(document, found)
        if not found:
            raise NoReadingError(
                IgnoredReason.NOT_TELEMETRY, "no values: metadata, an event, a sign of life, or bad quality throughout"
            )
        return found

    def _document(self, document: dict[str, Any], found: list[Measurement]) -> None:
        if "Messages" in document:  # a network message
            if document.get("MessageType", "ua-data") == "ua-data":
                for data_set in _objects(document["Messages"]):
                    self._data_set(data_set, document.get("PublisherId"), found)
        elif "Payload" in document or "DataSetWriterId" in document:
            self._data_set(document, document.get("PublisherId"), found)
        elif "NodeId" in document and "Value" in document:
            self._sample(document, found)
        elif str(document.get("MessageType", "")).startswith("ua-"):
            return  # metadata, a status, a description of endpoints
        else:
            self._fields(document, "", ARRIVAL, found)

    def _data_set(self, data_set: dict[str, Any], publisher: Any, found: list[Measurement]) -> None:
        kind = data_set.get("MessageType")
        if (type(kind) is not str and kind is not None) or kind not in _FRAMES:
            return
        fields = data_set.get("Payload")
        if fields is None:
            return
        if type(fields) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"{quoted(fields)} as the payload of a data set")
        self._fields(fields, self._name(data_set, publisher), _first_time(data_set, "Timestamp"), found)

    def _sample(self, sample: dict[str, Any], found: list[Measurement]) -> None:
        """Read one monitored item of OPC Publisher's mode "Samples"."""
        more = sample.get("ExtensionFields")
        more = more if type(more) is dict else {}
        name = sample.get("DisplayName")
        name = name if type(name) is str and name else str(sample["NodeId"])
        value = sample["Value"]
        if type(value) is dict and _DATA_VALUE.isdisjoint(value):
            return  # an event
        self._fields({name: value}, self._name(more, more.get("PublisherId")), _first_time(sample, "Timestamp"), found)

    def _name(self, data_set: dict[str, Any], publisher: Any) -> str:
        if self._device is None:
            return ""
        if self._device == "publisher":
            name = publisher
        else:
            name = data_set.get("DataSetWriterName") or data_set.get("DataSetWriterId")
        return str(name) if type(name) in (str, int) else ""

    def _fields(self, fields: dict[str, Any], device: str, when: Moment, found: list[Measurement]) -> None:
        for name, field in fields.items():
            time, problem = when
            value, kind = field, None
            if type(field) is dict and not _DATA_VALUE.isdisjoint(field):
                value, kind = field.get("Value"), field.get("UaType")
                if value is None:
                    continue  # a status in place of a value
                said = _first_time(field, "SourceTimestamp", "ServerTimestamp")
                time, problem = when if said is ARRIVAL else said
                problem = self._quality(field) or problem
            if type(value) is dict and "Body" in value and "Type" in value:  # a Variant in reversible encoding
                value, kind = value["Body"], value["Type"]
            if type(value) is dict or type(value) is list:
                leaves = json_tree.leaves(value, f"{name}/")
            else:
                leaves = [] if value is None else [(name, value)]
            for leaf, scalar in leaves:
                plain = _number_or_text(scalar) if type(scalar) is str and kind not in _STRING else scalar
                found.append(Measurement(leaf, plain, time, None, device, problem))

    def _quality(self, field: dict[str, Any]) -> UnusableError | None:
        """Return why the value beside this status is no reading (OPC 10000-4, 7.39: two bits say how bad it is)."""
        status = field.get("StatusCode", field.get("Status"))
        if status is None or status == 0:
            return None
        code = status.get("Code", 0 if "Symbol" not in status else None) if type(status) is dict else status
        symbol = status.get("Symbol") if type(status) is dict else status
        if type(code) is int:
            severity = code >> 30
        else:
            severity = 0 if str(symbol).startswith("Good") else 1 if str(symbol).startswith("Uncertain") else 2
        if 0 <= severity <= self._worst:
            return None
        return UnusableError(Reason.BAD_QUALITY, f"status {quoted(symbol if type(symbol) is str else code)}")


def _objects(document: Any) -> list[dict[str, Any]]:
    items = document if type(document) is list else [document]
    for item in items:
        if type(item) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"expected an object, got {quoted(item)}")
    return items


def _first_time(members: dict[str, Any], *names: str) -> Moment:
    """Return the first of the times ``names`` that ``members`` has."""
    for name in names:
        raw = members.get(name)
        if raw is not None and not (type(raw) is str and raw.startswith(_NULL_TIME)):
            return moment(raw, "iso8601")
    return ARRIVAL


def _number_or_text(text: str) -> float | str:
    if not _NUMBER_AS_TEXT.fullmatch(text):
        return text
    return float(text) if text[-1] in "Ny" else int(text)
