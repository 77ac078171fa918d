"""Messages from MQTT: QoS 1, a persistent session, acknowledged after the commit."""

import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from collector.formats.sparkplug.nodes import Publication
from collector.message import Message
from collector.settings import CollectorSettings
from collector.sources.arrival import Arrival
from collector.sources.arrival_clock import ArrivalClock
from collector.sources.base import Sink
from collector.sources.mqtt_bulk_client import BulkClient
from collector.sources.mqtt_takeover import SessionTakeover, ShareGroup
from collector.sources.sparkplug_host import SparkplugHost
from core.backoff import Backoff
from core.errors import WarehouseError
from core.settings import MqttSettings

log = structlog.get_logger()

_REFUSALS = {
    "Bad user name or password",
    "Not authorized",
    "Client identifier not valid",
    "Unsupported protocol version",
}
_LONGEST_PAUSE = 30.0
_LONGEST_DISCONNECT = 5.0


class BrokerError(WarehouseError):
    """The broker refuses this client; a retry would not help."""


class MqttSource:
    """Passes messages from a broker to a sink; :meth:`run` blocks the calling thread until :meth:`stop`.

    Client id and share group are those of ``settings``; a second session beside the collector's uses
    ``settings.for_role(role)``. ``topic_filters`` are usually the registry's and may be replaced at any time. ``host``
    is the Sparkplug host application that publishes over this connection.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        settings: CollectorSettings,
        topic_filters: tuple[str, ...],
        host: SparkplugHost | None = None,
    ) -> None:
        self.topic_filters = topic_filters
        self.connections = 0
        self.connected = False
        """Whether the broker has accepted the subscriptions of the current connection."""
        self.arrival = Arrival(settings.client_id, settings.arrival_limit_seconds)
        self.clock = ArrivalClock()
        self._arrival_subscription: int | None = None
        """The pending subscription to the probes."""
        self._mqtt = mqtt
        self._settings = settings
        self._host = host or SparkplugHost()
        self._subscribed: tuple[str, ...] = ()
        self._obsolete_filters: set[str] = set()
        """Filters of the session that are to be unsubscribed from."""
        self._committed: deque[Sequence[Message]] = deque()
        self._stopping = threading.Event()
        self._refused: BrokerError | None = None
        self._group = ShareGroup(mqtt, settings) if settings.share_group else None
        self._takeover: SessionTakeover | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def committed(self, messages: Sequence[Message]) -> None:
        """Have the loop acknowledge ``messages``: they are durable. From any thread."""
        self._committed.append(messages)
        self._wake()

    def resume(self) -> None:
        """Continue reading: the sink has capacity again. From any thread."""
        self._wake()

    def stop(self) -> None:
        """Make :meth:`run` return: it reads no more, flushes the sink, acknowledges and disconnects."""
        self._stopping.set()
        self._wake()

    def run(self, sink: Sink) -> bool:
        """Pass messages to ``sink`` until :meth:`stop`; return whether all that were read are durable.

        Reconnects automatically, with growing pauses. Raises :class:`BrokerError` if the broker refuses this client
        at its first connection, and the sink's failure if it had one.
        """
        client = self._new_client(sink)
        if self._group is not None:
            self._group.start()
        try:
            return self._run(client, sink)
        finally:
            if self._group is not None:
                self._group.stop()

    def _run(self, client: BulkClient, sink: Sink) -> bool:
        backoff = Backoff(first=0.5, longest=_LONGEST_PAUSE)
        while not self._stopping.is_set():
            if (will := self._host.will(time.time_ns() // 1_000_000)) is not None:
                client.will_set(will.topic, will.payload, will.qos, will.retain)
            try:
                client.reconnect()
            except (OSError, ValueError) as error:  # ValueError: a host name that can't be one
                where = f"{self._mqtt.host}:{self._mqtt.port}"
                log.warning("broker away", broker=where, reason=str(error), next_try_seconds=backoff.pause)
            else:
                before = self.connections
                self._serve_connection(client, sink)
                if self.connections > before:
                    backoff.reset()
            if self._refused is not None:
                sink.stop(self._settings.drain_seconds)
                raise self._refused
            if self._stopping.wait(backoff.advance()):
                break
        clean = sink.stop(self._settings.drain_seconds)
        if sink.failure is not None:
            raise sink.failure
        self._disconnect(client)
        return clean

    def _new_client(self, sink: Sink) -> BulkClient:
        client = BulkClient(self._settings.client_id, sink.add, self.arrival, self.clock)
        mqtt = self._mqtt
        mqtt.configure(client)
        client.connect_timeout = 10.0
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.connect_async(mqtt.host, mqtt.port, self._settings.keepalive_seconds)
        return client

    def _serve_connection(self, client: BulkClient, sink: Sink) -> None:
        """Serve one connection until it ends or :meth:`stop` is called."""
        while not self._stopping.is_set() and client.socket() is not None:
            if sink.failure is not None:
                self._stopping.set()
                return
            self._acknowledge(client)
            self._follow_topic_filters(client)
            self._serve_group(sink)
            self._send_probe(client)
            self._select([client, self._takeover.client] if self._takeover else [client], sink)

    def _select(self, clients: Sequence[BulkClient], sink: Sink) -> None:
        """Wait, up to a second, until a socket of ``clients`` is readable or writable, and serve those that are."""
        paused = sink.is_full
        socks = {client: sock for client in clients if (sock := client.socket()) is not None}
        pending = {client for client, sock in socks.items() if isinstance(sock, ssl.SSLSocket) and sock.pending() > 0}
        reading: list[Any] = [self._wake_read] if paused else [self._wake_read, *socks.values()]
        writing = [sock for client, sock in socks.items() if client.want_write()]
        pause = 0 if pending and not paused else self.arrival.longest_pause
        try:
            readable, writable, _ = select.select(reading, writing, [], pause)
        except (OSError, ValueError):  # a socket was closed meanwhile
            readable, writable, pending = [], [], set()
        if self._wake_read in readable:
            self._drain_wakes()
        for client, sock in socks.items():
            if not paused and (sock in readable or client in pending):
                client.loop_read()
                sink.notify()
                self._publish(client, *self._host.pop_publications())
            if sock in writable:
                client.loop_write()
            if paused:
                client.keep_alive_while_paused()
            client.check_probes(paused=paused)
            client.loop_misc()

    def _serve_group(self, sink: Sink) -> None:
        """Send a heartbeat, and begin, continue or end the takeover of a lost member's session."""
        if self._group is None or not self.connected:
            return
        if self._takeover is None:
            if (lost := self._group.lost_member()) is not None:
                log.warning("collector lost; taking over its session", client_id=lost[0])
                try:
                    self._takeover = SessionTakeover(self._mqtt, self._settings, lost, sink.add)
                except OSError:  # the broker is away
                    self._group.postpone_takeover(lost[0])
        elif self._takeover.finished:
            self._takeover.close()
            self._group.remove_session(self._takeover.name)
            log.info("taken over", client_id=self._takeover.name, messages=self._takeover.messages)
            self._takeover = None
        elif self._takeover.client.socket() is None:
            log.info("takeover ended: the collector is back, or the broker away", client_id=self._takeover.name)
            self._group.postpone_takeover(self._takeover.name)
            self._takeover = None
        else:
            self._takeover.check_finished()
        filters = {self._session_filter(topic) for topic in self._subscribed} | self._obsolete_filters
        if self.arrival.is_enabled:
            filters.add(self.arrival.topic)
        self._group.send_heartbeat(filters, self._takeover.name if self._takeover else None)

    @staticmethod
    def _publish(client: Client, *publications: Publication | None) -> None:
        """Queue ``publications``; paho sends them as the socket takes them."""
        for publication in publications:
            if publication is not None:
                with suppress(ValueError):  # a topic that MQTT forbids, made of a device's
                    client.publish(publication.topic, publication.payload, publication.qos, publication.retain)

    def _send_probe(self, client: BulkClient) -> None:
        """Publish the next probe if its time has come, once the broker has accepted its subscription."""
        if self.connected and self._arrival_subscription is None and (probe := self.arrival.next_probe()):
            client.publish(self.arrival.topic, *probe)

    def _acknowledge(self, client: BulkClient) -> None:
        while self._committed:
            messages = self._committed.popleft()
            client.acknowledge(message.delivery for message in messages)
            if self._takeover is not None:
                self._takeover.acknowledge(messages)

    def _follow_topic_filters(self, client: BulkClient) -> None:
        """Subscribe again if the topic filters have been replaced."""
        if self._subscribed and self._subscribed != self.topic_filters:
            self._obsolete_filters |= {self._session_filter(topic) for topic in self._subscribed}
            self._subscribe(client)

    def _subscribe(self, client: Client) -> None:
        self._subscribed = self.topic_filters
        filters = [self._session_filter(topic) for topic in self.topic_filters]
        self._obsolete_filters -= set(filters)
        client.subscribe([(topic, 1) for topic in filters])

    def _session_filter(self, topic: str) -> str:
        group = self._settings.share_group
        return f"$share/{group}/{topic}" if group else topic

    def _on_connect(self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, __: Any) -> None:
        if code.is_failure:
            if self.connections == 0 and str(code) in _REFUSALS:
                self._refused = BrokerError(
                    f"the broker at {self._mqtt.host}:{self._mqtt.port} refuses this client: {code}. "
                    "Check MQTT_USERNAME, MQTT_PASSWORD and COLLECTOR_CLIENT_ID."
                )
            log.error("broker refuses the connection", reason=str(code))
            return
        self.connections += 1
        if self._settings.share_group:
            # The session may be older than the group; with its plain filters every message would come twice.
            self._obsolete_filters |= set(self.topic_filters)
        log.info(
            "connected to broker",
            broker=f"{self._mqtt.host}:{self._mqtt.port}",
            client_id=self._settings.client_id,
            session="resumed" if flags.session_present else "new",
        )
        self.arrival.connected(new_session=not flags.session_present)
        if self.arrival.is_enabled:
            # Separately: a broker that refuses this one may not refuse the others.
            self._arrival_subscription = client.subscribe(self.arrival.topic, 1)[1]
        elif flags.session_present:
            client.unsubscribe(self.arrival.topic)
        self._subscribe(client)

    def _on_subscribe(self, client: Client, _: Any, request: int, codes: list[ReasonCode], __: Any) -> None:
        if request == self._arrival_subscription:
            if any(code.is_failure for code in codes):
                self.arrival.refused()
            else:
                self._arrival_subscription = None
            return
        if any(code.is_failure for code in codes):
            log.error("broker refuses a subscription; check its access rules", filters=list(self._subscribed))
            return
        if self._obsolete_filters:
            # Only now: a message published between unsubscribing and subscribing would be lost.
            client.unsubscribe(sorted(self._obsolete_filters))
            self._obsolete_filters.clear()
        self.connected = True
        log.info("subscribed", filters=list(self._subscribed))
        self._publish(client, self._host.online())

    def _on_disconnect(self, _: Client, __: Any, ___: DisconnectFlags, code: ReasonCode, ____: Any) -> None:
        self.connected = False
        self.arrival.disconnected()
        if code.is_failure and not self._stopping.is_set():
            log.warning("connection to broker lost", reason=str(code))

    def _disconnect(self, client: BulkClient) -> None:
        sock = client.socket()
        if sock is None:
            return
        deadline = time.monotonic() + _LONGEST_DISCONNECT
        # A second handle: paho closes its own after DISCONNECT, and closing a connection with unread data resets it, so
        # that the broker may never read the last packets.
        with socket.socket(fileno=os.dup(sock.fileno())) as line:
            self._acknowledge(client)
            if self._takeover is not None:
                self._takeover.close()
            self._publish(client, self._host.offline(time.time_ns() // 1_000_000))
            client.disconnect()
            while (open_ := client.socket()) is not None and client.want_write() and time.monotonic() < deadline:
                select.select([], [open_], [], 1.0)
                client.loop_write()
            with suppress(OSError):
                line.shutdown(socket.SHUT_WR)
                line.settimeout(1.0)
                while time.monotonic() < deadline and line.recv(65_536):  # until the broker closes
                    pass

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # wake-ups are pending already
            self._wake_write.send(b"\0")

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_read.recv(4096)
