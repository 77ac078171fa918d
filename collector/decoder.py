"""From a message to its readings: the topic names the sensors, their format does the rest. Pure."""

from collections.abc import Mapping

from collector.formats.fields import FieldsDecoder
from collector.message import Decoded, Message, NoReadingError, Reason, UndecodableError
from collector.registry import Registry, Sensor


class Decoder:
    """Decodes messages by a registry.

    ``series_ids`` maps (sensor_id, quantity) to series_id, as :func:`collector.register.synchronise` returns it.
    """

    def __init__(
        self,
        registry: Registry,
        series_ids: Mapping[tuple[str, str], int],
        *,
        max_future_seconds: float = 300,
        max_message_bytes: int = 4_000_000,
    ) -> None:
        self._max_message_bytes = max_message_bytes
        by_topic: dict[str, list[Sensor]] = {}
        for sensor in registry.sensors:
            by_topic.setdefault(sensor.topic, []).append(sensor)
        max_future = round(max_future_seconds * 1_000_000)
        self._routes = {topic: FieldsDecoder(group, series_ids, max_future).decode for topic, group in by_topic.items()}

    def decode(self, message: Message) -> Decoded:
        """Return what ``message`` holds; raises :class:`UndecodableError` or :class:`NoReadingError`, nothing else."""
        route = self._routes.get(message.topic)
        if route is None:
            raise UndecodableError(Reason.UNKNOWN_SENSOR, "no sensor of the registry has this topic")
        if not message.payload:
            # How a retained message is deleted (MQTT 3.1.1, 3.3.1.3), not something a sensor measured.
            raise NoReadingError("an empty payload")
        if len(message.payload) > self._max_message_bytes:
            # A decoded document takes many times the room of its text.
            raise UndecodableError(
                Reason.TOO_LARGE, f"{len(message.payload)} bytes; see COLLECTOR_MAX_MESSAGE_MEGABYTES"
            )
        try:
            return route(message)
        except (UndecodableError, NoReadingError):
            raise
        except Exception as error:  # a defect of ours must cost neither the stream nor the message
            raise UndecodableError(Reason.DEFECT, f"{type(error).__name__}: {error}"[:500]) from error
