"""Lines of NDJSON files as messages: of the sensor that they name, or from an envelope with their topic. Pure."""

import time
from collections.abc import Callable
from typing import Any

import orjson

from collector.decode.series_decoder import sensor_decoder
from collector.files.file_sensors import FileSensors
from collector.files.options import Options
from collector.formats import json_payload
from collector.formats.json_payload import MISSING
from collector.message import (
    Decoded,
    Message,
    NoReadingError,
    Reason,
    Rejection,
    UndecodableError,
    UnusableError,
)
from collector.registry.discovery import UnregisteredError
from collector.registry.sensors import Sensor
from collector.store.batch import Decode


class LineDecoder:
    """Decodes lines by the format of their sensor, with the decoder of live messages.

    The sensor is ``only``, if given; else the one that the line names: at its format's device pointer, or in a
    member ``sensor_id`` or ``device_id``. ``prepared`` changes a sensor as the options of the files say. ``max_future``
    is in microseconds.
    """

    def __init__(
        self,
        sensors: FileSensors,
        max_future: int,
        prepared: Callable[[Sensor], Sensor] = lambda sensor: sensor,
        *,
        only: bool = False,
    ) -> None:
        self._sensors = sensors
        self._max_future = max_future
        self._prepared = prepared
        self._only = only
        self._decoders: dict[int, Decode] = {}
        # A line is read to find its topic and again to decode it.
        self._last: tuple[bytes, int] = b"", -1
        # By the place of the name: the same name at another place may be another sensor.
        self._devices: dict[tuple[str, ...], dict[str, int]] = {("sensor_id",): {}, ("device_id",): {}}
        for position, sensor in enumerate(sensors.sensors):
            self._add(position, sensor)

    def _add(self, position: int, sensor: Sensor) -> None:
        # A line has no topic, which most formats need.
        if not sensor.format.needs_topic:
            for path in {("sensor_id",), ("device_id",), sensor.format.device_path} - {()}:
                names = self._devices.setdefault(path, {})
                names[sensor.device] = -1 if sensor.device in names else position

    def topic(self, line: bytes) -> str | None:
        """Return the topic of the sensor that ``line`` names; None: it names no sensor of the registry."""
        try:
            position = self._position(line)
        except UndecodableError:
            return None
        return None if position < 0 else self._sensors.sensors[position].topic

    def decode(self, message: Message) -> Decoded:
        """Return the content of the line.

        Raises :class:`UndecodableError`, :class:`NoReadingError`, or, where it is the first line of a sensor or a
        quantity of a pattern, :class:`~collector.registry.discovery.UnregisteredError`.
        """
        position = self._position(message.payload)
        if position < 0:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "names no sensor of the registry; name it with --sensor ID")
        try:
            self._sensors.check(position)
            decode = self._decoders.get(position)
            if decode is None:
                decode = self._decoders[position] = self._decoder(position)
            decoded = decode(message)
        except UnusableError as error:
            raise UndecodableError(error.reason, error.detail) from None
        except (UndecodableError, NoReadingError):
            raise
        except Exception as error:  # a defect in our code must not stop the file or lose the line
            raise UndecodableError(Reason.DEFECT, f"{type(error).__name__}: {error}"[:500]) from error
        if discoveries := self._sensors.discoveries(reading[0] for reading in decoded.readings):
            del self._decoders[position]  # the next one has the ids
            raise UnregisteredError(discoveries)
        return without_arrival(decoded, message)

    def _decoder(self, position: int) -> Decode:
        sensor = self._prepared(self._sensors.sensors[position])
        ids = {(sensor.sensor_id, name): self._sensors.series_id(sensor, name) for name in sensor.quantities}
        return sensor_decoder(sensor, ids, self._max_future).decode

    def _position(self, line: bytes) -> int:
        if self._only:
            return 0
        if self._last[0] is not line:
            self._last = line, self._named(json_payload.load(line))
        return self._last[1]

    def _named(self, document: Any) -> int:
        names = {path: json_payload.find(document, path) for path in self._devices}
        texts = {path: name if type(name) is str else str(name) for path, name in names.items() if name is not MISSING}
        for path, text in texts.items():
            position = self._devices[path].get(text, -1)
            if position >= 0:
                return position
        for text in texts.values():
            position = self._sensors.find(text)
            if position >= 0 and not self._sensors.sensors[position].format.needs_topic:
                return position
        return -1


class Envelopes:
    """Messages inside the lines of the file ``name``: at the pointer ``--message``, with the topic ``--topic``.

    ``decode_message`` decodes them as live messages.
    """

    def __init__(self, name: str, options: Options, decode_message: Decode) -> None:
        self._name = name
        self._message = () if options.message is None else json_payload.steps(options.message)
        topic = options.topic or ""
        self._topic = topic
        self._topic_path = json_payload.steps(topic) if topic.startswith("/") else None
        self._decode = decode_message
        self._problems: dict[str, UndecodableError] = {}
        """By the topic of a line without a message."""

    def message(self, number: int, line: bytes) -> Message:
        """Return the message in ``line``; :meth:`decode` raises the error for a line without one."""
        received = time.time_ns() // 1_000
        try:
            document = json_payload.load(line)
            topic, payload = self._topic_of(document), self._payload(document, line)
        except (UndecodableError, NoReadingError) as error:
            topic, payload = f"{self._name}:{number}", line
            if isinstance(error, UndecodableError):
                self._problems[topic] = error
        return Message(topic, payload, received)

    def decode(self, message: Message) -> Decoded:
        """Return the content of a message; raises what the decoder of live messages does."""
        problem = self._problems.pop(message.topic, None)
        if problem is not None:
            raise problem
        return without_arrival(self._decode(message), message)

    def _topic_of(self, document: Any) -> str:
        if self._topic_path is None:
            return self._topic
        topic = json_payload.find(document, self._topic_path)
        if type(topic) is not str:
            raise UndecodableError(Reason.MALFORMED, f"no topic at {self._topic}")
        return topic

    def _payload(self, document: Any, line: bytes) -> bytes:
        if not self._message:
            return line
        content = json_payload.find(document, self._message)
        if content is MISSING:
            raise UndecodableError(Reason.MALFORMED, f"no message at /{'/'.join(self._message)}")
        return content.encode() if type(content) is str else orjson.dumps(content)


def without_arrival(decoded: Decoded, message: Message) -> Decoded:
    """Return ``decoded`` without readings that have no time: the load of a file is no time of a measurement.

    Their time is that of the arrival, a unique microsecond.
    """
    known = [reading for reading in decoded.readings if reading[1] != message.received]
    unknown = len(decoded.readings) - len(known)
    if not unknown:
        return decoded
    rejection = Rejection(Reason.MISSING_TIME, "no time in the line, and a file has no time of arrival", unknown)
    return decoded._replace(readings=known, rejections=[*decoded.rejections, rejection])
