"""Failover in a share group: members watch each other, and one takes over the session of a member that is lost.

A broker gives each member of a shared subscription its part, and goes on doing so for the session of a member that is
away: mosquitto keeps sending a dead member its part of all new messages, and messages it has not acknowledged go to no
other member (MQTT 5.0, section 4.8.2). So the members watch each other over the broker: each publishes a retained
record of its session, and heartbeats. When the heartbeats of a member stop, one of the others, its successor, connects
with the lost member's client id, ends its subscriptions (from then on the broker gives new messages to the living) and
reads the messages that wait in the session.

docs/decisions/0014-broker-persistence.md has the reasons.
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
from collector.settings import CollectorSettings
from collector.sources.arrival import Arrival
from collector.sources.mqtt_bulk_client import BulkClient
from core.settings import MqttSettings

log = structlog.get_logger()

HEARTBEAT_SECONDS = 1.0
LOST_AFTER_SECONDS = 5.0
"""A member without a heartbeat for this long is lost; a restart of a process is quicker."""
STAGGER_SECONDS = 2.0
"""Each further member waits this much longer, so that only one of them takes over."""
QUIET_SECONDS = 1.0
"""After this time without a message the broker is asked whether the session is empty."""
_TOPIC = "sensor-warehouse/share"
_ACCESS_RULE = f"{_TOPIC}/#"
_MOST_UNHEARD_HEARTBEATS = 10
"""Own heartbeats that may go unheard before an error is logged."""


class Members:
    """The members of a group as one of them sees them. Pure: ``now`` is in seconds of any monotonic clock."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._filters: dict[str, tuple[str, ...]] = {}
        self._last_heartbeat: dict[str, float] = {}

    def record_session(self, name: str, filters: Iterable[str], now: float) -> None:
        """Record the session of ``name`` and its topic filters; without filters the session is removed."""
        self._filters[name] = tuple(filters)
        self._last_heartbeat.setdefault(name, now)
        if not self._filters[name]:
            del self._filters[name], self._last_heartbeat[name]

    def record_heartbeat(self, name: str, now: float) -> None:
        """Record that ``name`` is alive."""
        self._last_heartbeat[name] = now

    def reconnected(self, now: float) -> None:
        """Restart all waiting times at ``now``: no heartbeat could be received before."""
        self._last_heartbeat = dict.fromkeys(self._filters, now)

    def lost_member(self, now: float) -> tuple[str, tuple[str, ...]] | None:
        """Return name and topic filters of a lost member whose successor is this one; None: there is none."""
        silent_for = {name: now - self._last_heartbeat[name] for name in self._filters if name != self._own_name}
        alive = {name for name, heartbeat in self._last_heartbeat.items() if now - heartbeat <= LOST_AFTER_SECONDS}
        position = sorted(alive | {self._own_name}).index(self._own_name)
        for name in sorted(silent_for):
            if silent_for[name] > LOST_AFTER_SECONDS + STAGGER_SECONDS * position:
                return name, self._filters[name]
        return None


class ShareGroup:
    """One member's connection to its group, separate from the connection that carries the readings.

    :meth:`send_heartbeat` and :meth:`lost_member` are called by the thread that serves the member's session, so that a
    member counts as alive exactly as long as its session is served.
    """

    def __init__(self, mqtt: MqttSettings, settings: CollectorSettings) -> None:
        self.name = settings.client_id
        self._topic = f"{_TOPIC}/{settings.share_group}"
        self._members = Members(self.name)
        self._lock = threading.Lock()  # for _members: the connection's thread records, the loop's thread reads
        self._published_filters: tuple[str, ...] = ()
        self._last_heartbeat = 0.0
        self._unheard_heartbeats = 0
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, f"{settings.client_id}-share", clean_session=True, protocol=MQTTv311
        )
        mqtt.configure(client)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 5)
        client.connect_async(mqtt.host, mqtt.port, settings.keepalive_seconds)

    def start(self) -> None:
        """Connect, in a thread."""
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; another member takes over unless a process with this client id is back before."""
        self._client.disconnect()
        self._client.loop_stop()

    def send_heartbeat(self, filters: Collection[str], successor_of: str | None) -> None:
        """Publish, once a second at most, that this member is alive and its session has ``filters``.

        The same goes for the member ``successor_of`` whose session it serves.
        """
        now = time.monotonic()
        if now - self._last_heartbeat < HEARTBEAT_SECONDS or not self._client.is_connected():
            return
        self._last_heartbeat = now
        session_filters = tuple(sorted(filters))
        if session_filters != self._published_filters:
            self._published_filters = session_filters
            self._client.publish(self._record_topic(self.name), json.dumps(session_filters), qos=1, retain=True)
        for name in {self.name, successor_of or self.name}:
            self._client.publish(f"{self._record_topic(name)}/alive")
        self._unheard_heartbeats += 1
        if self._unheard_heartbeats == _MOST_UNHEARD_HEARTBEATS:
            log.error(
                "the broker does not deliver the share group's messages to this collector; allow it to publish and "
                "subscribe",
                topic=_ACCESS_RULE,
            )

    def lost_member(self) -> tuple[str, tuple[str, ...]] | None:
        """Return name and topic filters of a lost member whose successor is this one; None: there is none."""
        if not self._client.is_connected():
            return None
        with self._lock:
            return self._members.lost_member(time.monotonic())

    def postpone_takeover(self, name: str) -> None:
        """Restart the waiting time of ``name``: its session could not be had, or its owner has taken it back."""
        with self._lock:
            self._members.record_heartbeat(name, time.monotonic())

    def remove_session(self, name: str) -> None:
        """Delete the retained record of ``name``, for all members: its session is empty."""
        self._client.publish(self._record_topic(name), b"", qos=1, retain=True)

    def _record_topic(self, name: str) -> str:
        return f"{self._topic}/{quote(name, safe='')}"

    def _on_connect(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        if code.is_failure:
            log.error("broker refuses the connection", client_id=f"{self.name}-share", reason=str(code))
            return
        with self._lock:
            self._members.reconnected(time.monotonic())
        self._published_filters = ()
        client.subscribe(f"{self._topic}/#", 1)

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        now = time.monotonic()
        name, _slash, kind = message.topic.removeprefix(f"{self._topic}/").partition("/")
        name = unquote(name)
        if kind == "alive":
            if name == self.name:
                self._unheard_heartbeats = 0
            with self._lock:
                self._members.record_heartbeat(name, now)
            return
        try:
            filters = [str(topic) for topic in json.loads(message.payload)] if message.payload else []
        except (ValueError, TypeError):
            return
        if name == self.name and not filters:
            self._published_filters = ()  # a successor finished after this member had returned: publish again
        with self._lock:
            self._members.record_session(name, filters, now)


class SessionTakeover:
    """Reads the messages that wait in the session of a ``lost`` member, into the successor's own ``add``.

    The successor's loop serves ``client`` beside its own. The end of the session is found with a request: once all
    messages received are acknowledged, the broker answers an UNSUBSCRIBE only after everything else it had to send.
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
        """Whether the session is empty."""
        self.messages = 0
        self._add = add
        self._acknowledged = 0
        self._messages_at_request: int | None = None
        """Number of messages received when the pending request was sent; None: no request is pending."""
        self._last_message = time.monotonic()
        self.client = BulkClient(self.name, self._deliver, Arrival(self.name, settings.arrival_limit_seconds))
        mqtt.configure(self.client)
        self.client.connect_timeout = 3.0
        self.client.on_connect = self._on_connect
        self.client.on_unsubscribe = self._on_unsubscribe
        self.client.connect_async(mqtt.host, mqtt.port, settings.keepalive_seconds)
        self.client.reconnect()

    def acknowledge(self, messages: Collection[Message]) -> None:
        """Acknowledge those of ``messages`` that came from this session."""
        self._acknowledged += self.client.acknowledge(message.delivery for message in messages)

    def check_finished(self) -> None:
        """Request the end of the session once it has been quiet for a second and all is acknowledged."""
        quiet = time.monotonic() - self._last_message > QUIET_SECONDS
        idle = quiet and self._messages_at_request is None and self._acknowledged == self.messages
        if idle and self.client.is_connected():
            self._messages_at_request = self.messages
            self.client.unsubscribe(list(self._filters))

    def close(self) -> None:
        """Disconnect; messages that are not acknowledged stay in the session."""
        self.client.disconnect()

    def _deliver(self, message: Message) -> None:
        if message.qos:
            self.messages += 1
        self._last_message = time.monotonic()
        self._add(message)

    def _on_connect(self, client: Client, _: Any, __: Any, code: Any, ___: Any) -> None:
        if not code.is_failure:
            self._messages_at_request = -1
            client.unsubscribe(list(self._filters))

    def _on_unsubscribe(self, *_: Any) -> None:
        self.finished = self._messages_at_request == self.messages == self._acknowledged
        self._messages_at_request = None
