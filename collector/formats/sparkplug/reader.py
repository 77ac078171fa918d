"""Format ``sparkplug``: Sparkplug B 3.0 (https://sparkplug.eclipse.org/specification/).

Edge nodes and their devices define their metrics in *births*; *data* may then identify a metric by a number, its alias,
and omit its type. :class:`collector.formats.sparkplug.nodes.Nodes` stores the births. Data that can't be read without a
birth is quarantined as ``missing_birth`` and can be replayed after the birth has arrived.
"""

from typing import Literal

from pydantic import Field

from collector.formats.measurement import FormatOptions, Measured, Topic
from collector.formats.sparkplug.metrics import Birth, birth_of, data_of
from collector.formats.sparkplug.nodes import Nodes, place
from collector.formats.sparkplug.payload import parse
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, quoted

_BIRTHS = ("NBIRTH", "DBIRTH")
_DEATHS = ("NDEATH", "DDEATH")


class SparkplugFormat(FormatOptions):
    """Sparkplug B 3.0; a quantity is a metric, a device is named group/node/device, a node group/node."""

    unlisted = "ignore"

    name: Literal["sparkplug"] = "sparkplug"
    rebirth: bool = Field(
        True,
        description="Request a rebirth (NCMD) from an edge node whose birth was missed. The broker must allow the "
        "collector to publish on spBv1.0/+/NCMD/+.",
    )

    def reader(self) -> "SparkplugReader":
        """Return a reader without births."""
        return SparkplugReader(self)


class SparkplugReader:
    """Reads births and data; commands, deaths and states of host applications have no reading.

    ``nodes`` is a reader's only state; the readers of one collector share it and keep it when the registry changes.
    """

    def __init__(self, options: SparkplugFormat) -> None:
        self.nodes = Nodes()
        self._rebirth = options.rebirth

    def read(self, message: Message, topic: Topic) -> list[Measured]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        where = place(message.topic)
        verb = where.verb
        if verb == "STATE":
            self.nodes.state(message)
        if verb in ("STATE", "NCMD", "DCMD"):
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"{verb} has no data")
        if not message.payload:
            raise NoReadingError(IgnoredReason.EMPTY_PAYLOAD, "an empty payload")
        payload, raw = parse(message.payload)
        missed = self.nodes.follow(where, message.received, payload)
        birth: Birth | None
        if verb in _BIRTHS:
            birth, measurements, unclear = birth_of(payload, raw, message.received, where.name)
            self.nodes.add_birth(where, message, birth)
        else:
            birth = self.nodes.birth(where, message.received)
            measurements, unclear = ([], False) if verb in _DEATHS else data_of(payload, raw, birth, where.name)
        if self._rebirth and (missed or unclear or (birth is None and verb != "NDEATH")):
            self.nodes.request_rebirth(where, message.received)
        if birth is None and unclear:
            problems = (problem for *_, problem in measurements if problem is not None)
            missing = next(problem for problem in problems if problem.reason is Reason.MISSING_BIRTH)
            raise UndecodableError(missing.reason, f"no birth of {quoted(where.name)} yet; {missing.detail}")
        if not measurements:
            raise NoReadingError(IgnoredReason.NO_VALUE, f"{verb} without values")
        return measurements
