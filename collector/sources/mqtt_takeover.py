"""Collectors that share the load: who of them lives, and who takes over from one that does not.

A broker gives each member of a shared subscription its part, and keeps that for its session while it is away: mosquitto
goes on giving a dead member its part of everything new, and what one has in hand nobody else ever gets (MQTT 5.0,
section 4.8.2). So the members watch each other, over the broker: each leaves a retained record of its session, and
says that it lives. One that falls silent is *inherited* by another: the heir connects under its name, ends its
subscriptions, so that the broker gives what is new to the living, and takes what waits in the session.

docs/decisions/0014-broker-persistence.md says why it is done so.
"""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import quote, unquote

import structlog
from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from collector.message import Message
from collector.settings import CollectorSettings, MqttSettings
from collector.sources.mqtt_bulk_client import BulkClient

log = structlog.get_logger()

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 5.0
"""Whoever has said nothing for so long is lost; a restart of a process is quicker."""
STAGGER_SECONDS = 2.0
"""How much longer each next one of the living waits, so that one of them inherits and not all."""
QUIET_SECONDS = 1.0
"""A session that brought nothing for so long is asked whether that was all."""
_TOPIC = "sensor-warehouse/share"
_RULE = f"{_TOPIC}/#"
_UNHEARD = 10
"""So many times a member may speak without hearing itself."""


class Members:
    """What one member knows of the others; pure, told the time in seconds of any steady clock."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._filters: dict[str, tuple[str, ...]] = {}
        self._seen: dict[str, float] = {}

    def described(self, name: str, filters: Iterable[str], now: float) -> None:
        """Take note of the session of ``name`` and what it subscribes to; no filters: there is nothing left of it."""
        self._filters[name] = tuple(filters)
        self._seen.setdefault(name, now)
        if not self._filters[name]:
            del self._filters[name], self._seen[name]

    def heard(self, name: str, now: float) -> None:
        """Take note that ``name`` lives."""
        self._seen[name] = now

    def connected(self, now: float) -> None:
        """Take note that nothing could be heard until ``now``: all begin anew."""
        self._seen = dict.fromkeys(self._filters, now)

    def lost(self, now: float) -> tuple[str, tuple[str, ...]] | None:
        """Return name and filters of a member that this one is to inherit, if there is one."""
        silent = {name: now - self._seen[name] for name in self._filters if name != self._me}
        living = {self._me, *(name for name, seen in self._seen.items() if now - seen <= SILENCE_SECONDS)}
        patience = SILENCE_SECONDS + STAGGER_SECONDS * sorted(living).index(self._me)
        for name in sorted(silent):
            if silent[name] > patience:
                return name, self._filters[name]
        return None


class ShareGroup:
    """One member's part in the conversation of its group, over a connection of its own.

    :meth:`beat` and :meth:`lost` are called by the thread that serves the member's session, so that a member lives as
    long as its session is served and no longer.
    """

    def __init__(self, mqtt: MqttSettings, settings: CollectorSettings) -> None:
        self.name = settings.client_id
        self._topic = f"{_TOPIC}/{settings.share_group}"
        self._members = Members(self.name)
        self._lock = threading.Lock()  # the connection's thread tells the members what it hears, the loop's asks them
        self._told: tuple[str, ...] = ()
        self._beaten = 0.0
        self._unheard = 0
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, f"{settings.client_id}-share", clean_session=True, protocol=MQTTv311
        )
        mqtt.tell(client)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 5)
        client.connect_async(mqtt.host, mqtt.port, settings.keepalive_seconds)

    def start(self) -> None:
        """Begin to listen."""
        self._client.loop_start()

    def stop(self) -> None:
        """Fall silent; another inherits, unless a process under this name is back before."""
        self._client.disconnect()
        self._client.loop_stop()

    def beat(self, filters: Collection[str], heir_of: str | None) -> None:
        """Say that this member lives, with ``filters`` as its session's, and that so does whose session it serves."""
        now = time.monotonic()
        if now - self._beaten < BEAT_SECONDS or not self._client.is_connected():
            return
        self._beaten = now
        told = tuple(sorted(filters))
        if told != self._told:
            self._told = told
            self._client.publish(self._record(self.name), json.dumps(told), qos=1, retain=True)
        for name in {self.name, heir_of or self.name}:
            self._client.publish(f"{self._record(name)}/alive")
        self._unheard += 1
        if self._unheard == _UNHEARD:
            log.error(
                "the broker does not let this collector hear its group; allow it to publish and read", topic=_RULE
            )

    def lost(self) -> tuple[str, tuple[str, ...]] | None:
        """Return name and filters of a member whose session is this one's to inherit."""
        if not self._client.is_connected():
            return None
        with self._lock:
            return self._members.lost(time.monotonic())

    def spare(self, name: str) -> None:
        """Leave ``name`` alone for a while: its session could not be had, or its owner has taken it back."""
        with self._lock:
            self._members.heard(name, time.monotonic())

    def forget(self, name: str) -> None:
        """Tell the others that nothing is left of ``name``."""
        self._client.publish(self._record(name), b"", qos=1, retain=True)

    def _record(self, name: str) -> str:
        return f"{self._topic}/{quote(name, safe='')}"

    def _on_connect(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        if code.is_failure:
            log.error("broker refuses", client_id=f"{self.name}-share", reason=str(code))
            return
        with self._lock:
            self._members.connected(time.monotonic())
        self._told = ()
        client.subscribe(f"{self._topic}/#", 1)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        now = time.monotonic()
        name, _slash, verb = message.topic.removeprefix(f"{self._topic}/").partition("/")
        name = unquote(name)
        if verb == "alive":
            if name == self.name:
                self._unheard = 0
            with self._lock:
                self._members.heard(name, now)
            return
        try:
            filters = [str(one) for one in json.loads(message.payload)] if message.payload else []
        except (ValueError, TypeError):
            return
        if name == self.name and not filters:
            self._told = ()  # an heir was done just when we came back: say again that we are there
        with self._lock:
            self._members.described(name, filters, now)


class Inheritance:
    """Takes what waits in the session of a member that is lost, into the heir's own ``add``.

    Driven by the heir's loop: its ``client`` is one more to serve. The last word of the session is known by asking:
    once all that came is acknowledged, the broker answers a request only after what else it had to send.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        settings: CollectorSettings,
        lost: tuple[str, tuple[str, ...]],
        add: Callable[[Message], None],
    ) -> None:
        self.name, self._filters = lost
        self.finished = False
        """Whether nothing is left."""
        self.messages = 0
        self._add = add
        self._acknowledged = 0
        self._asked: int | None = None
        self._last = time.monotonic()
        self.client = BulkClient(self.name, self._deliver)
        mqtt.tell(self.client)
        self.client.connect_timeout = 3.0
        self.client.on_connect = self._on_connect
        self.client.on_unsubscribe = self._on_unsubscribe
        self.client.connect_async(mqtt.host, mqtt.port, settings.keepalive_seconds)
        self.client.reconnect()

    def acknowledge(self, messages: Collection[Message]) -> None:
        """Acknowledge those of ``messages`` that came from here."""
        self._acknowledged += self.client.acknowledge(message.delivery for message in messages)

    def turn(self) -> None:
        """Do what is due: ask whether that was all."""
        quiet = time.monotonic() - self._last > QUIET_SECONDS
        if quiet and self._asked is None and self._acknowledged == self.messages and self.client.is_connected():
            self._asked = self.messages
            self.client.unsubscribe(list(self._filters))

    def close(self) -> None:
        """Leave the session; what is not acknowledged stays in it."""
        self.client.disconnect()

    def _deliver(self, message: Message) -> None:
        if message.qos:
            self.messages += 1
        self._last = time.monotonic()
        self._add(message)

    def _on_connect(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        if not code.is_failure:
            self._asked = -1
            client.unsubscribe(list(self._filters))

    def _on_unsubscribe(self, *_: Any) -> None:
        self.finished = self._asked == self.messages == self._acknowledged
        self._asked = None
