"""Publishes readings: MQTT 3.1.1, QoS 1. The collector receives every reading that the broker acknowledged."""

import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from core.settings import MqttSettings

log = structlog.get_logger()

_MAX_RECONNECT_SECONDS = 5
_IN_FLIGHT = 1000


class BrokerPublisher:
    """A connection to the broker that reconnects automatically. Thread-safe."""

    def __init__(self, settings: MqttSettings) -> None:
        self.connected = False
        self._settings = settings
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.reconnect_delay_set(1, _MAX_RECONNECT_SECONDS)
        client.connect_timeout = 5.0
        settings.configure(client)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect

    def start(self) -> None:
        """Start connecting and return immediately: the broker may be started later."""
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=30)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and stop the network thread."""
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()
        self.connected = False

    def publish(self, messages: Sequence[tuple[str, bytes]], seconds: float) -> list[bool]:
        """Publish (topic, payload) pairs; return for each whether the broker acknowledged it within ``seconds``.

        A message without acknowledgement may still have arrived: the acknowledgement itself can be lost.
        """
        if not self.connected:
            return [False] * len(messages)
        deadline = time.monotonic() + seconds
        sent = [self._client.publish(topic, payload, qos=1) for topic, payload in messages]
        for info in sent:
            if info.rc == mqtt.MQTT_ERR_SUCCESS:
                info.wait_for_publish(max(0.0, deadline - time.monotonic()))
        return [info.rc == mqtt.MQTT_ERR_SUCCESS and info.is_published() for info in sent]

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any) -> None:
        address = f"{self._settings.host}:{self._settings.port}"
        self.connected = not code.is_failure
        if code.is_failure:
            log.warning("broker refused the connection", broker=address, reason=str(code))
        else:
            log.info("connected to the broker", broker=address)

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        log.warning("broker not reachable", broker=f"{self._settings.host}:{self._settings.port}")

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any) -> None:
        if self.connected:
            log.warning("connection to the broker lost", reason=str(code))
        self.connected = False
