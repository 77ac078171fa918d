"""Publishes with QoS 1 from one thread: limited number of unacknowledged messages, automatic reconnect."""

import select
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from core.backoff import Backoff
from core.settings import MqttSettings
from local_services.broker import BrokerError

_LONGEST_PAUSE = 15.0


class Publisher:
    """An MQTT 3.1.1 client that runs its network loop in the caller's thread, about twice as fast as paho's thread.

    ``window`` is the maximum number of unacknowledged messages; ``report`` is called with a line when the connection is
    lost or restored. Unacknowledged messages are sent again after a reconnect, so subscribers may receive duplicates
    (QoS 1).
    """

    def __init__(
        self, settings: MqttSettings, window: int = 1000, client_id: str = "", report: Callable[[str], None] = print
    ) -> None:
        self.acknowledged = 0
        self.published = 0
        self._settings = settings
        self._window = window
        self._report = report
        self._backoff = Backoff(first=0.25, longest=_LONGEST_PAUSE)
        self._retry_at = 0.0
        self._connected = False
        self._refused: str | None = None
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True, reconnect_on_failure=False
        )
        # paho has its own limit; the one here blocks.
        client.max_inflight_messages_set(window)
        client.connect_timeout = 5.0
        settings.configure(client)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.connect_async(settings.host, settings.port, keepalive=30)

    @property
    def unacknowledged(self) -> int:
        """Number of messages published and not yet acknowledged."""
        return self.published - self.acknowledged

    def connect(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the broker accepts the connection and return True, or return False if ``stopped`` first.

        Raises :class:`BrokerError` if the broker refuses the connection.
        """
        while not self._connected:
            if stopped():
                return False
            self._process_network(0.2)
        return True

    def publish(self, topic: str, payload: bytes, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Publish one message when the window has capacity; return False if ``stopped`` before that."""
        while not self._connected or self.unacknowledged >= self._window:
            if stopped():
                return False
            self._process_network(0.2)
        self._client.publish(topic, payload, qos=1)
        self.published += 1
        # Acknowledgements are read in bulk: a read after each message would double the system calls.
        if self.published % 64 == 0:
            self._process_network(0.0)
        return True

    def process_network(self, seconds: float) -> None:
        """Process the network for up to ``seconds``, at most 0.2, so that the caller can check for a stop."""
        self._process_network(min(max(seconds, 0.0), 0.2))

    def drain(self, timeout: float = 30.0) -> bool:
        """Wait until all messages are acknowledged; return False if some are not after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while self.unacknowledged and time.monotonic() < end:
            self._process_network(0.2)
        return not self.unacknowledged

    def close(self) -> None:
        """Disconnect; unacknowledged messages are discarded (call :meth:`drain` first)."""
        self._client.on_disconnect = None
        self._client.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _process_network(self, wait: float) -> None:
        """Process network input and output, waiting up to ``wait`` seconds for it."""
        client = self._client
        sock = client.socket()
        if sock is None:
            self._reconnect(wait)
            return
        pending = getattr(sock, "pending", None)  # TLS may buffer bytes that select does not see
        ready = bool(pending and pending())
        if not ready:
            writers = [sock] if client.want_write() else []
            readable, writable, _ = select.select([sock], writers, [], wait)
            ready = bool(readable)
            if writable:
                client.loop_write()
        if ready:
            for _ in range(256):
                if client.loop_read() != mqtt.MQTT_ERR_SUCCESS or client.socket() is None:
                    break
                if not select.select([sock], [], [], 0)[0]:
                    break
        if client.socket() is not None:
            client.loop_misc()
        if self._refused:
            raise BrokerError(
                f"the broker at {self._address()} refuses the connection: {self._refused}. "
                "Set MQTT_USERNAME and MQTT_PASSWORD to a user of the broker."
            )

    def _reconnect(self, wait: float) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            time.sleep(min(wait, self._retry_at - now))
            return
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            pause = self._backoff.advance()
            self._retry_at = time.monotonic() + pause
            self._report(f"no broker at {self._address()} ({error}); retrying in {pause:g} s")

    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any) -> None:
        if code.is_failure:
            self._refused = str(code)
            return
        if self._backoff.last:
            self._report(f"connected to the broker at {self._address()}")
        self._connected = True
        self._backoff.reset()

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any) -> None:
        if self._connected:
            self._report(
                f"lost the broker at {self._address()} ({code}); {self.unacknowledged} messages will be sent again"
            )
        self._connected = False
        # No tight loop with a broker that accepts and then closes the connection.
        self._retry_at = time.monotonic() + (self._backoff.last or self._backoff.advance())

    def _on_publish(self, _client: mqtt.Client, _data: Any, _mid: int, _code: Any, _more: Any) -> None:
        self.acknowledged += 1
