"""Readings from MQTT: QoS 1, a session that outlives the process, acknowledged after the commit."""

import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode

from collector.formats.sparkplug.nodes import Publication
from collector.message import Message
from collector.settings import CollectorSettings, MqttSettings
from collector.sources.mqtt_bulk_client import BulkClient
from collector.sources.mqtt_takeover import Inheritance, ShareGroup
from collector.sources.sparkplug_host import SparkplugHost
from core.backoff import Backoff
from core.errors import WarehouseError

log = structlog.get_logger()

_REFUSALS = {
    "Bad user name or password",
    "Not authorized",
    "Client identifier not valid",
    "Unsupported protocol version",
}
_LONGEST_PAUSE = 30.0
_LONGEST_GOODBYE = 5.0


class BrokerError(WarehouseError):
    """The broker refuses this client; trying again would not help."""


class Sink(Protocol):
    """Where a source's messages go: a :class:`collector.store.group_commit.Pipeline`, or another that makes them safe.

    Once messages are safe the sink calls the source's ``committed`` with them, and ``room`` when it was full and no
    longer is; both from any thread.
    """

    failure: BaseException | None
    """What ended it for good, if anything did; the source stops then, and raises it."""

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may; the source reads no more until ``room`` is called."""

    def add(self, message: Message) -> None:
        """Take one message, without waiting."""

    def notify(self) -> None:
        """Take note that one or more have been added and no more follow at once."""

    def stop(self, seconds: float) -> bool:
        """Make safe what was added, for ``seconds`` at most, and end; return whether all of it is safe."""


class MqttSource:
    """Feeds a sink from a broker; :meth:`run` holds the calling thread until :meth:`stop`.

    Client id and share group are those of ``settings``: a session beside that of the collector takes
    ``settings.beside(role)``. ``subscribe`` are the topic filters, usually the registry's; they may be replaced.
    ``host`` is who speaks to Sparkplug's edge nodes over this connection.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        settings: CollectorSettings,
        subscribe: tuple[str, ...],
        host: SparkplugHost | None = None,
    ) -> None:
        self.subscribe = subscribe
        self.connections = 0
        self.connected = False
        """Whether the broker has taken the subscriptions of the present connection."""
        self._mqtt = mqtt
        self._settings = settings
        self._host = host or SparkplugHost()
        self._subscribed: tuple[str, ...] = ()
        self._gone: set[str] = set()
        self._committed: deque[Sequence[Message]] = deque()
        self._stopping = threading.Event()
        self._refused: BrokerError | None = None
        self._group = ShareGroup(mqtt, settings) if settings.share_group else None
        self._heritage: Inheritance | None = None
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def committed(self, messages: Sequence[Message]) -> None:
        """Take note that ``messages`` are safe; they are acknowledged by the loop. From any thread."""
        self._committed.append(messages)
        self._wake()

    def room(self) -> None:
        """Take note that the sink can take more again. From any thread."""
        self._wake()

    def stop(self) -> None:
        """Make :meth:`run` return: it reads no more, writes what it has read, acknowledges and says goodbye."""
        self._stopping.set()
        self._wake()

    def run(self, sink: Sink) -> bool:
        """Bring messages to ``sink`` until :meth:`stop`; return whether all that was read is safe.

        Connects again by itself, ever more slowly. Raises :class:`BrokerError` where the broker refuses this client
        at its first connection, and what ended the sink, if something did.
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
            if (will := self._host.connecting(time.time_ns() // 1_000_000)) is not None:
                client.will_set(will.topic, will.payload, will.qos, will.retain)
            try:
                client.reconnect()
            except (OSError, ValueError) as error:  # ValueError: a host name that can't be one
                where = f"{self._mqtt.host}:{self._mqtt.port}"
                log.warning("broker away", broker=where, reason=str(error), next_try_seconds=backoff.pause)
            else:
                before = self.connections
                self._converse(client, sink)
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
        self._say_goodbye(client)
        return clean

    def _new_client(self, sink: Sink) -> BulkClient:
        client = BulkClient(self._settings.client_id, sink.add)
        mqtt = self._mqtt
        mqtt.tell(client)
        client.connect_timeout = 10.0
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.connect_async(mqtt.host, mqtt.port, self._settings.keepalive_seconds)
        return client

    def _converse(self, client: BulkClient, sink: Sink) -> None:
        """Serve one connection until it ends or we are stopping."""
        while not self._stopping.is_set() and client.socket() is not None:
            if sink.failure is not None:
                self._stopping.set()
                return
            self._acknowledge(client)
            self._subscribe_anew(client)
            self._share(sink)
            self._turn([client, self._heritage.client] if self._heritage else [client], sink)

    def _turn(self, clients: Sequence[BulkClient], sink: Sink) -> None:
        """Wait until one of ``clients`` has something for us or takes something, a second at most, and serve them."""
        paused = sink.full
        socks = {client: sock for client in clients if (sock := client.socket()) is not None}
        pending = {client for client, sock in socks.items() if isinstance(sock, ssl.SSLSocket) and sock.pending() > 0}
        reading: list[Any] = [self._wake_read] if paused else [self._wake_read, *socks.values()]
        writing = [sock for client, sock in socks.items() if client.want_write()]
        try:
            readable, writable, _ = select.select(reading, writing, [], 0 if pending and not paused else 1.0)
        except (OSError, ValueError):  # a socket was closed under us
            readable, writable, pending = [], [], set()
        if self._wake_read in readable:
            self._drain_wakes()
        for client, sock in socks.items():
            if not paused and (sock in readable or client in pending):
                client.loop_read()
                sink.notify()
                self._publish(client, *self._host.outgoing())
            if sock in writable:
                client.loop_write()
            if paused:
                client.expect_silence()
            client.loop_misc()

    def _share(self, sink: Sink) -> None:
        """Say that we live, and take over from another of the group that does not."""
        if self._group is None or not self.connected:
            return
        if self._heritage is None:
            if (lost := self._group.lost()) is not None:
                log.warning("collector lost; taking over what it had", client_id=lost[0])
                try:
                    self._heritage = Inheritance(self._mqtt, self._settings, lost, sink.add)
                except OSError:  # the broker is away
                    self._group.spare(lost[0])
        elif self._heritage.finished:
            self._heritage.close()
            self._group.forget(self._heritage.name)
            log.info("taken over", client_id=self._heritage.name, messages=self._heritage.messages)
            self._heritage = None
        elif self._heritage.client.socket() is None:
            log.info("collector is back, or the broker away", client_id=self._heritage.name)
            self._group.spare(self._heritage.name)
            self._heritage = None
        else:
            self._heritage.turn()
        filters = {self._filter(topic) for topic in self._subscribed} | self._gone
        self._group.beat(filters, self._heritage.name if self._heritage else None)

    @staticmethod
    def _publish(client: Client, *publications: Publication | None) -> None:
        """Have ``publications`` sent as the socket takes them, without waiting for it."""
        for one in publications:
            if one is not None:
                with suppress(ValueError):  # a topic beyond what MQTT allows, made of a device's
                    client.publish(one.topic, one.payload, one.qos, one.retain)

    def _acknowledge(self, client: BulkClient) -> None:
        while self._committed:
            messages = self._committed.popleft()
            client.acknowledge(message.delivery for message in messages)
            if self._heritage is not None:
                self._heritage.acknowledge(messages)

    def _subscribe_anew(self, client: BulkClient) -> None:
        """Follow a registry whose topic filters have changed."""
        if self._subscribed and self._subscribed != self.subscribe:
            self._gone |= {self._filter(topic) for topic in self._subscribed}
            self._subscribe(client)

    def _subscribe(self, client: Client) -> None:
        self._subscribed = self.subscribe
        filters = [self._filter(topic) for topic in self.subscribe]
        self._gone -= set(filters)
        client.subscribe([(topic, 1) for topic in filters])

    def _filter(self, topic: str) -> str:
        group = self._settings.share_group
        return f"$share/{group}/{topic}" if group else topic

    def _on_connect(self, client: Client, _: Any, flags: ConnectFlags, code: ReasonCode, __: Any) -> None:
        if code.is_failure:
            if self.connections == 0 and str(code) in _REFUSALS:
                self._refused = BrokerError(
                    f"the broker at {self._mqtt.host}:{self._mqtt.port} refuses this client: {code}. "
                    "Check MQTT_USERNAME, MQTT_PASSWORD and COLLECTOR_CLIENT_ID."
                )
            log.error("broker refuses", reason=str(code))
            return
        self.connections += 1
        if self._settings.share_group:
            # The session may be of a time before there was a group; the plain filters would bring everything twice.
            self._gone |= set(self.subscribe)
        log.info(
            "connected to broker",
            broker=f"{self._mqtt.host}:{self._mqtt.port}",
            client_id=self._settings.client_id,
            session="resumed" if flags.session_present else "new",
        )
        self._subscribe(client)

    def _on_subscribe(self, client: Client, _: Any, __: int, codes: list[ReasonCode], ___: Any) -> None:
        if any(code.is_failure for code in codes):
            log.error("broker refuses a subscription; check its access rules", filters=list(self._subscribed))
            return
        if self._gone:
            # Only now: what is published between unsubscribing and subscribing would reach nobody.
            client.unsubscribe(sorted(self._gone))
            self._gone.clear()
        self.connected = True
        log.info("subscribed", filters=list(self._subscribed))
        self._publish(client, self._host.connected())

    def _on_disconnect(self, _: Client, __: Any, ___: DisconnectFlags, code: ReasonCode, ____: Any) -> None:
        self.connected = False
        if code.is_failure and not self._stopping.is_set():
            log.warning("connection to broker lost", reason=str(code))

    def _say_goodbye(self, client: BulkClient) -> None:
        sock = client.socket()
        if sock is None:
            return
        deadline = time.monotonic() + _LONGEST_GOODBYE
        # A second handle: paho closes its own once it has said goodbye, and a connection that is closed while something
        # in it is unread is reset, so that the broker may never read our last packets.
        with socket.socket(fileno=os.dup(sock.fileno())) as line:
            self._acknowledge(client)
            if self._heritage is not None:
                self._heritage.close()
            self._publish(client, self._host.leaving(time.time_ns() // 1_000_000))
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
        with suppress(BlockingIOError):  # enough wakes are waiting already
            self._wake_write.send(b"\0")

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            self._wake_read.recv(4096)
