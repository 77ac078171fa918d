"""A publisher for tests: QoS 1, with the acknowledgements of the broker."""

from collections.abc import Iterable, Mapping

import paho.mqtt.client as mqtt


class Publisher:
    """Publishes in order and records which messages the broker has acknowledged, across broken connections."""

    def __init__(self, environment: Mapping[str, str], client_id: str = "") -> None:
        self._sent: list[tuple[int, mqtt.MQTTMessageInfo]] = []
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id, clean_session=not client_id, protocol=mqtt.MQTTv311
        )
        self._client.username_pw_set(environment["MQTT_USERNAME"], environment["MQTT_PASSWORD"])
        self._client.max_inflight_messages_set(500)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(environment["MQTT_HOST"], int(environment["MQTT_PORT"]))
        self._client.loop_start()

    @property
    def waiting(self) -> bool:
        """Whether the last message has not been acknowledged yet."""
        return bool(self._sent) and not self._sent[-1][1].is_published()

    @property
    def acknowledged(self) -> set[int]:
        """The numbers of the messages that the broker has acknowledged."""
        return {number for number, info in self._sent if info.is_published()}

    def send(self, messages: Iterable[tuple[int, str, bytes]], *, retain: bool = False) -> None:
        """Pass (number, topic, payload) to paho, which publishes them in the background."""
        for number, topic, payload in messages:
            self._sent.append((number, self._client.publish(topic, payload, qos=1, retain=retain)))

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()
