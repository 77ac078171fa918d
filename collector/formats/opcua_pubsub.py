"""Format ``opcua_pubsub``: OPC UA PubSub in JSON (OPC 10000-14, encoding OPC 10000-6), as OPC Publisher sends it.

Supported are network messages, single data set messages and bare data sets, one or a list of them, with or without
``DataValue`` around the fields, reversible encoding, and OPC Publisher's older mode "Samples"
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
"""Types of data set messages with values; the others are events, conditions and keep-alive messages."""

_NULL_TIME = "0001-01-01T00:00:00"
"""Beginning of a null DateTime (OPC 10000-6, 5.4.2.6)."""

_NUMBER_AS_TEXT = re.compile(r"-?(0|[1-9]\d{0,19})|NaN|-?Infinity")
"""Numbers that OPC 10000-6, 5.4.2 writes as text: integers of 64 bits, NaN and infinity."""

_STRING = (12, "String")
"""The built-in type String, by number and name: its values are text even if they look like numbers."""

_GZIP = b"\x1f\x8b"

_DATA_VALUE = frozenset(["Value", "StatusCode", "Status", "SourceTimestamp", "ServerTimestamp"])
"""Members by which a DataValue differs from a structure."""


class OpcuaPubsubFormat(FormatOptions):
    """OPC UA PubSub messages in JSON."""

    name: Literal["opcua_pubsub"] = "opcua_pubsub"
    device: Literal["writer", "publisher"] | None = Field(
        "writer",
        description="Which member names the device: the DataSetWriterName (else DataSetWriterId), the PublisherId, or "
        "null: only the topic does.",
    )
    uncertain: Literal["hold", "keep"] = Field(
        "hold", description="Values with an uncertain status: hold quarantines them, keep stores them as readings."
    )

    def reader(self) -> "OpcuaPubsubReader":
        """Return a reader for messages of this format."""
        return OpcuaPubsubReader(self.device, keep_uncertain=self.uncertain == "keep")


class OpcuaPubsubReader:
    """Reads PubSub messages; ``device``: which member names the device (see the options)."""

    def __init__(self, device: str | None, *, keep_uncertain: bool) -> None:
        self._device = device
        self._worst = 1 if keep_uncertain else 0

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the payload suffices
        """Return the measurements in ``message``; see :class:`~collector.formats.measurement.Reader`."""
        if message.payload.startswith(_GZIP):
            raise UndecodableError(Reason.MALFORMED, "compressed with gzip; set the publisher's encoding to plain JSON")
        measurements: list[Measurement] = []
        for document in _objects(json_tree.load(message.payload)):
            self._document(document, measurements)
        if not measurements:
            raise NoReadingError(
                IgnoredReason.NOT_TELEMETRY,
                "no values: metadata, an event, a keep-alive message, or no good quality",
            )
        return measurements

    def _document(self, document: dict[str, Any], measurements: list[Measurement]) -> None:
        if "Messages" in document:  # a network message
            if document.get("MessageType", "ua-data") == "ua-data":
                for data_set in _objects(document["Messages"]):
                    self._data_set(data_set, document.get("PublisherId"), measurements)
        elif "Payload" in document or "DataSetWriterId" in document:
            self._data_set(document, document.get("PublisherId"), measurements)
        elif "NodeId" in document and "Value" in document:
            self._sample(document, measurements)
        elif str(document.get("MessageType", "")).startswith("ua-"):
            return  # metadata, a status, or a description of endpoints
        else:
            self._fields(document, "", ARRIVAL, measurements)

    def _data_set(self, data_set: dict[str, Any], publisher: Any, measurements: list[Measurement]) -> None:
        kind = data_set.get("MessageType")
        if (type(kind) is not str and kind is not None) or kind not in _FRAMES:
            return
        fields = data_set.get("Payload")
        if fields is None:
            return
        if type(fields) is not dict:
            raise UndecodableError(Reason.MALFORMED, f"payload of a data set: expected an object, got {quoted(fields)}")
        self._fields(fields, self._name(data_set, publisher), _first_time(data_set, "Timestamp"), measurements)

    def _sample(self, sample: dict[str, Any], measurements: list[Measurement]) -> None:
        """Read one monitored item of OPC Publisher's mode "Samples"."""
        extension = sample.get("ExtensionFields")
        extension = extension if type(extension) is dict else {}
        name = sample.get("DisplayName")
        name = name if type(name) is str and name else str(sample["NodeId"])
        value = sample["Value"]
        if type(value) is dict and _DATA_VALUE.isdisjoint(value):
            return  # an event
        device = self._name(extension, extension.get("PublisherId"))
        self._fields({name: value}, device, _first_time(sample, "Timestamp"), measurements)

    def _name(self, data_set: dict[str, Any], publisher: Any) -> str:
        if self._device is None:
            return ""
        if self._device == "publisher":
            name = publisher
        else:
            name = data_set.get("DataSetWriterName") or data_set.get("DataSetWriterId")
        return str(name) if type(name) in (str, int) else ""

    def _fields(self, fields: dict[str, Any], device: str, when: Moment, measurements: list[Measurement]) -> None:
        for name, field in fields.items():
            time, problem = when
            value, kind = field, None
            if type(field) is dict and not _DATA_VALUE.isdisjoint(field):
                value, kind = field.get("Value"), field.get("UaType")
                if value is None:
                    continue  # a status in place of a value
                field_time = _first_time(field, "SourceTimestamp", "ServerTimestamp")
                time, problem = when if field_time is ARRIVAL else field_time
                problem = self._quality(field) or problem
            if type(value) is dict and "Body" in value and "Type" in value:  # a Variant in reversible encoding
                value, kind = value["Body"], value["Type"]
            if type(value) is dict or type(value) is list:
                leaves = json_tree.leaves(value, f"{name}/")
            else:
                leaves = [] if value is None else [(name, value)]
            for leaf, scalar in leaves:
                plain = _number_or_text(scalar) if type(scalar) is str and kind not in _STRING else scalar
                measurements.append(Measurement(leaf, plain, time, None, device, problem))

    def _quality(self, field: dict[str, Any]) -> UnusableError | None:
        """Return the problem of a value without a good status (OPC 10000-4, 7.39: two bits are the severity)."""
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
    """Return the time of the first of the members ``names`` that has one."""
    for name in names:
        raw = members.get(name)
        if raw is not None and not (type(raw) is str and raw.startswith(_NULL_TIME)):
            return moment(raw, "iso8601")
    return ARRIVAL


def _number_or_text(text: str) -> float | str:
    if not _NUMBER_AS_TEXT.fullmatch(text):
        return text
    return float(text) if text[-1] in "Ny" else int(text)
