"""What a Sparkplug host application remembers of edge nodes: births, sequence numbers, what it asked for. Pure.

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

from collector.formats.sparkplug.metrics import BDSEQ, Birth, born
from collector.formats.sparkplug.payload import Payload, parse
from collector.formats.sparkplug.types import DataType
from collector.message import Message, Reason, UndecodableError, quoted
from core.backoff import Backoff

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"

_NODE_VERBS = frozenset(("NBIRTH", "NDEATH", "NDATA", "NCMD"))
_DEVICE_VERBS = frozenset(("DBIRTH", "DDEATH", "DDATA", "DCMD"))
_SEQUENCE = 256
"""Sequence numbers count from 0 to 255 and on from 0 (section 6.4.7)."""

_FIRST_PAUSE = 10_000_000
_LONGEST_PAUSE = 600_000_000
"""Microseconds between two requests to one node; doubled as long as requests keep being needed."""

_BIRTHS_KEPT = 4
"""Of one device. A batch that the database refuses is decoded again, by the births of its time."""
_MOST_KEPT = 400_000
"""Nodes and metrics, some 100 MB; beyond it the nodes born longest ago are forgotten and, when they speak, asked."""


class Place(NamedTuple):
    """What a topic says (section 4.1)."""

    root: str
    """What stands before the namespace, where a bridge has put something there."""
    group: str
    verb: str
    node: str
    device: str
    name: str
    """group/node or group/node/device."""


def place(topic: str) -> Place:
    """Return what ``topic`` says; raises :class:`UndecodableError` where it is none of Sparkplug's."""
    return _cached(topic) if len(topic) <= _LONGEST_CACHED else _place(topic)


_LONGEST_CACHED = 300


def _place(topic: str) -> Place:
    root, found, rest = topic.rpartition(f"{NAMESPACE}/")
    levels = rest.split("/")
    if found and (not root or root.endswith("/")):
        if len(levels) == 2 and levels[0] == "STATE":  # noqa: PLR2004 - the host's name follows
            return Place(root, "", "STATE", levels[1], "", "")
        if len(levels) == 3 and levels[1] in _NODE_VERBS:  # noqa: PLR2004 - group, verb, node
            group, verb, node = levels
            return Place(root, group, verb, node, "", f"{group}/{node}")
        if len(levels) == 4 and levels[1] in _DEVICE_VERBS:  # noqa: PLR2004 - and device
            group, verb, node, device = levels
            return Place(root, group, verb, node, device, f"{group}/{node}/{device}")
    raise UndecodableError(
        Reason.MALFORMED, f"{quoted(topic)} is no topic of Sparkplug B ({NAMESPACE}/group/verb/node…)"
    )


_cached = lru_cache(maxsize=8192)(_place)


class Publication(NamedTuple):
    """What should be published."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


_received = attrgetter("received")


@dataclass(slots=True)
class _Node:
    births: dict[str, list[Birth]] = field(default_factory=dict)
    """By device, "" for the node itself; in the order of their arrival."""
    kept: int = 1
    """How many of _MOST_KEPT it takes."""
    heard: int = 0
    """When its last message arrived."""
    alive: bool = False
    """Whether this process has seen its birth, and not its death."""
    bdseq: int | None = None
    seq: int | None = None
    next_request: int = 0
    requests: Backoff[int] = field(default_factory=lambda: Backoff(_FIRST_PAUSE, _LONGEST_PAUSE))


class Nodes:
    """The edge nodes of a broker.

    ``outbox`` holds what should be published. :meth:`pending` are births that have not been stored yet;
    :meth:`prime` takes stored ones back. ``online`` is the STATE that the host application has published, if it does.
    Times are microseconds since 1970. For any thread: what the database refused, or did not know the sensors of, is
    decoded again by the thread that writes.
    """

    def __init__(self) -> None:
        self.outbox: deque[Publication] = deque(maxlen=1000)
        self.online: Publication | None = None
        self._nodes: dict[tuple[str, str, str], _Node] = {}
        self._unsaved: dict[str, Message] = {}
        self._lock = threading.RLock()
        self._kept = 0

    def pending(self) -> list[Message]:
        """Return the births to store, one a topic."""
        with self._lock:
            return list(self._unsaved.values())

    def saved(self, births: Iterable[Message]) -> None:
        """Take note that ``births`` are stored, and committed."""
        with self._lock:
            for birth in births:
                if self._unsaved.get(birth.topic) is birth:
                    del self._unsaved[birth.topic]

    def prime(self, birth: Message) -> None:
        """Take note of a stored birth. Its node counts as unknown until it is heard: it may be another by now."""
        with self._lock:
            where = place(birth.topic)
            self._remember(where, born(*parse(birth.payload), birth.received, where.name)[0])

    def state(self, message: Message) -> None:
        """Contradict who says that this host application is offline, as a will that comes late does (section 5.4)."""
        online = self.online
        if online is not None and message.topic == online.topic and not message.retained:
            try:
                offline = json.loads(message.payload)["online"] is False
            except (ValueError, KeyError, TypeError, RecursionError):
                return
            if offline:
                self.outbox.append(online)

    def born(self, where: Place, message: Message, birth: Birth) -> None:
        """Take note of ``birth``, which arrived in ``message``; it is to be stored."""
        with self._lock:
            self._remember(where, birth)
            waiting = self._unsaved.get(message.topic)
            if waiting is None or waiting.received <= message.received:
                self._unsaved[message.topic] = message

    def birth(self, where: Place, received: int) -> Birth | None:
        """Return the birth by which data that arrived then is to be read.

        That is the last one before it in the same session of its node, else the first one after it: such data is
        replayed from quarantine. Whether an alias then means what it meant, nobody can say; nodes rarely change them.
        """
        with self._lock:
            node = self._nodes.get((where.root, where.group, where.node))
            if node is None:
                return None
            session = next((one.received for one in reversed(node.births.get("", ())) if one.received <= received), 0)
            after = None
            for birth in reversed(node.births.get(where.device, ())):
                if birth.received <= received:
                    return birth if birth.received >= session else after
                after = birth
            return after

    def follow(self, where: Place, received: int, payload: Any) -> bool:
        """Follow the node's session; return whether something of it was missed."""
        with self._lock:
            node = self._node(where)
            seq = payload.seq if payload.HasField("seq") else None
            if received < node.heard or (received == node.heard and seq == node.seq):
                return False  # decoded again
            node.heard = received
            if where.verb == "NDEATH":
                bdseq = _bdseq(payload)
                # The will of an earlier connection may arrive behind the birth of the next (section 5.3).
                if bdseq is None or node.bdseq is None or bdseq == node.bdseq:
                    node.alive, node.seq = False, None
                return False
            expected = None if node.seq is None else (node.seq + 1) % _SEQUENCE
            node.seq = seq
            if where.verb == "NBIRTH":
                node.alive, node.bdseq = True, _bdseq(payload)
                return False
            return not node.alive or (seq is not None and expected is not None and seq != expected)

    def ask(self, where: Place, received: int) -> None:
        """Ask a node for a rebirth (section 5.12), unless it was asked a moment ago."""
        with self._lock:
            node = self._node(where)
            if received < node.next_request:
                return
            if node.requests.last is not None and received - node.next_request > node.requests.last:
                node.requests.reset()
            node.next_request = received + node.requests.advance()
            self.outbox.append(
                Publication(f"{where.root}{NAMESPACE}/{where.group}/NCMD/{where.node}", rebirth(received))
            )

    def _node(self, where: Place) -> _Node:
        key = (where.root, where.group, where.node)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node()
            self._kept += node.kept
            self._forget()
        return node

    def _remember(self, where: Place, birth: Birth) -> None:
        key = (where.root, where.group, where.node)
        node = self._node(where)
        self._nodes[key] = self._nodes.pop(key)  # the youngest are forgotten last
        births = node.births.setdefault(where.device, [])
        at = bisect(births, birth.received, key=_received)
        births.insert(at, birth)
        more = birth.kept
        if at and births[at - 1].received == birth.received:
            more -= births.pop(at - 1).kept
        elif len(births) > _BIRTHS_KEPT:
            more -= births.pop(0).kept
        node.kept += more
        self._kept += more
        self._forget()

    def _forget(self) -> None:
        while self._kept > _MOST_KEPT and len(self._nodes) > 1:
            self._kept -= self._nodes.pop(next(iter(self._nodes))).kept


def rebirth(received: int) -> bytes:
    """Return the payload that asks for a rebirth (section 5.12)."""
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
