"""State of Sparkplug's edge nodes in a host application: births, sequence numbers, requested rebirths. Pure.

Section numbers are those of the specification, version 3.0 (https://sparkplug.eclipse.org/specification/).
"""

import json
import threading
from bisect import bisect
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from collector.formats.sparkplug.metrics import BDSEQ, Birth, birth_of
from collector.formats.sparkplug.payload import Payload, parse
from collector.formats.sparkplug.types import DataType
from collector.message import Message, Reason, UndecodableError, quoted
from core.backoff import Backoff

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"

_NODE_VERBS = frozenset(("NBIRTH", "NDEATH", "NDATA", "NCMD"))
_DEVICE_VERBS = frozenset(("DBIRTH", "DDEATH", "DDATA", "DCMD"))
_SEQUENCE = 256
"""Sequence numbers are 0 to 255, then 0 again (section 6.4.7)."""

_FIRST_PAUSE = 10_000_000
_LONGEST_PAUSE = 600_000_000
"""Microseconds between two requests to one node; doubled while requests remain necessary."""

_MOST_BIRTHS = 4
"""Births of one device. A batch that the database refuses is decoded again, with the births of its time."""
MOST_BYTES = 64_000_000
"""Of the births that wait to be stored, and of the stored ones. Beyond it the oldest are forgotten: after a restart
their nodes are asked for a rebirth."""
_LARGEST_SIZE = 400_000
"""Nodes and metrics, about 100 MB. Beyond it the nodes with the oldest births are removed; they are asked for a rebirth
when they send again."""


class Place(NamedTuple):
    """The parts of a topic (section 4.1)."""

    root: str
    """The levels before the namespace, where a bridge has added some."""
    group: str
    verb: str
    node: str
    device: str
    name: str
    """group/node or group/node/device."""


def place(topic: str) -> Place:
    """Return the parts of ``topic``; raises :class:`UndecodableError` where it is not a topic of Sparkplug."""
    return _cached(topic) if len(topic) <= _LONGEST_CACHED else _place(topic)


_LONGEST_CACHED = 300


def _place(topic: str) -> Place:
    root, namespace, rest = topic.rpartition(f"{NAMESPACE}/")
    levels = rest.split("/")
    if namespace and (not root or root.endswith("/")):
        if len(levels) == 2 and levels[0] == "STATE":  # noqa: PLR2004 - the host's name follows
            return Place(root, "", "STATE", levels[1], "", "")
        if len(levels) == 3 and levels[1] in _NODE_VERBS:  # noqa: PLR2004 - group, verb, node
            group, verb, node = levels
            return Place(root, group, verb, node, "", f"{group}/{node}")
        if len(levels) == 4 and levels[1] in _DEVICE_VERBS:  # noqa: PLR2004 - and device
            group, verb, node, device = levels
            return Place(root, group, verb, node, device, f"{group}/{node}/{device}")
    raise UndecodableError(
        Reason.MALFORMED, f"{quoted(topic)} is not a topic of Sparkplug B ({NAMESPACE}/group/verb/node…)"
    )


_cached = lru_cache(maxsize=8192)(_place)


class Publication(NamedTuple):
    """A message to publish."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


_received = attrgetter("received")


@dataclass(slots=True)
class _Node:
    births: dict[str, list[Birth]] = field(default_factory=dict)
    """By device, "" for the node itself; in the order of their arrival."""
    size: int = 1
    """Its share of _LARGEST_SIZE."""
    last_message: int = 0
    """Time of arrival of its last message."""
    alive: bool = False
    """Whether this process has received its birth, and no death after it."""
    bdseq: int | None = None
    seq: int | None = None
    next_request: int = 0
    requests: Backoff[int] = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))


class Nodes:
    """The edge nodes of a broker.

    ``outbox`` has the messages to publish. :meth:`pending` are births that have not been stored yet; :meth:`prime`
    adds stored ones. ``online`` is the STATE that the host application has published, if it publishes one. Times are
    microseconds since 1970. Thread-safe: the writer thread decodes messages again that the database refused or whose
    sensors were not registered.
    """

    def __init__(self) -> None:
        self.outbox: deque[Publication] = deque(maxlen=1000)
        self.online: Publication | None = None
        self._nodes: dict[tuple[str, str, str], _Node] = {}
        self._unsaved: dict[str, Message] = {}
        self._unsaved_bytes = 0
        self._lock = threading.RLock()
        self._size = 0

    def pending(self) -> list[Message]:
        """Return the births to store, one per topic."""
        with self._lock:
            return list(self._unsaved.values())

    def saved(self, births: Iterable[Message]) -> None:
        """Remove ``births``, which are stored and committed, from the pending ones."""
        with self._lock:
            for birth in births:
                if self._unsaved.get(birth.topic) is birth:
                    self._forget_unsaved(birth.topic)

    def prime(self, birth: Message) -> None:
        """Add a stored birth. Its node counts as unknown until its next message: it may have changed since."""
        with self._lock:
            where = place(birth.topic)
            self._add(where, birth_of(*parse(birth.payload), birth.received, where.name)[0])

    def state(self, message: Message) -> None:
        """Publish STATE again where a late will says that this host application is offline (section 5.4)."""
        online = self.online
        if online is not None and message.topic == online.topic and not message.retained:
            try:
                offline = json.loads(message.payload)["online"] is False
            except (ValueError, KeyError, TypeError, RecursionError):
                return
            if offline:
                self.outbox.append(online)

    def add_birth(self, where: Place, message: Message, birth: Birth) -> None:
        """Add ``birth``, which arrived in ``message`` and is to be stored."""
        with self._lock:
            self._add(where, birth)
            waiting = self._unsaved.get(message.topic)
            if waiting is None or waiting.received <= message.received:
                if waiting is not None:
                    self._forget_unsaved(message.topic)
                self._unsaved[message.topic] = message
                self._unsaved_bytes += len(message.payload)
            while self._unsaved_bytes > MOST_BYTES and len(self._unsaved) > 1:
                self._forget_unsaved(next(iter(self._unsaved)))

    def birth(self, where: Place, received: int) -> Birth | None:
        """Return the birth that defines the metrics of data that arrived at ``received``.

        It is the last one before the data in the same session of its node, else the first one after it: such data is
        replayed from quarantine. Whether an alias had the same meaning then is unknown; nodes rarely change them.
        """
        with self._lock:
            node = self._nodes.get((where.root, where.group, where.node))
            if node is None:
                return None
            node_births = (birth.received for birth in reversed(node.births.get("", ())))
            session = next((begin for begin in node_births if begin <= received), 0)
            after = None
            for birth in reversed(node.births.get(where.device, ())):
                if birth.received <= received:
                    return birth if birth.received >= session else after
                after = birth
            return after

    def follow(self, where: Place, received: int, payload: Any) -> bool:
        """Update the node's session; return whether a message of it was missed."""
        with self._lock:
            node = self._node(where)
            seq = payload.seq if payload.HasField("seq") else None
            if received < node.last_message or (received == node.last_message and seq == node.seq):
                return False  # decoded again
            node.last_message = received
            if where.verb == "NDEATH":
                bdseq = _bdseq(payload)
                # The will of an earlier connection may arrive after the birth of the next one (section 5.3).
                if bdseq is None or node.bdseq is None or bdseq == node.bdseq:
                    node.alive, node.seq = False, None
                return False
            expected = None if node.seq is None else (node.seq + 1) % _SEQUENCE
            node.seq = seq
            if where.verb == "NBIRTH":
                node.alive, node.bdseq = True, _bdseq(payload)
                return False
            return not node.alive or (seq is not None and expected is not None and seq != expected)

    def request_rebirth(self, where: Place, received: int) -> None:
        """Request a rebirth from a node (section 5.12), unless one was requested recently."""
        with self._lock:
            node = self._node(where)
            if received < node.next_request:
                return
            if node.requests.last is not None and received - node.next_request > node.requests.last:
                node.requests.reset()
            node.next_request = received + node.requests.advance()
            self.outbox.append(
                Publication(f"{where.root}{NAMESPACE}/{where.group}/NCMD/{where.node}", rebirth_request(received))
            )

    def _forget_unsaved(self, topic: str) -> None:
        self._unsaved_bytes -= len(self._unsaved.pop(topic).payload)

    def _node(self, where: Place) -> _Node:
        key = (where.root, where.group, where.node)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node()
            self._size += node.size
            self._remove_oldest()
        return node

    def _add(self, where: Place, birth: Birth) -> None:
        key = (where.root, where.group, where.node)
        node = self._node(where)
        self._nodes[key] = self._nodes.pop(key)  # the node with the latest birth is removed last
        births = node.births.setdefault(where.device, [])
        at = bisect(births, birth.received, key=_received)
        births.insert(at, birth)
        growth = birth.size
        if at and births[at - 1].received == birth.received:
            growth -= births.pop(at - 1).size
        elif len(births) > _MOST_BIRTHS:
            growth -= births.pop(0).size
        node.size += growth
        self._size += growth
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        while self._size > _LARGEST_SIZE and len(self._nodes) > 1:
            self._size -= self._nodes.pop(next(iter(self._nodes))).size


def rebirth_request(received: int) -> bytes:
    """Return the payload of a request for a rebirth (section 5.12)."""
    now = received // 1000
    payload = Payload(timestamp=now)
    payload.metrics.add(name=REBIRTH, timestamp=now, datatype=DataType.BOOLEAN, boolean_value=True)
    request: bytes = payload.SerializeToString()
    return request


def _bdseq(payload: Any) -> int | None:
    for metric in payload.metrics:
        if metric.name == BDSEQ:
            return int(metric.long_value or metric.int_value)
    return None
