"""Format ``sparkplug``: Sparkplug B 3.0 (https://sparkplug.eclipse.org/specification/).

Edge nodes and their devices say in *births* which metrics they have; *data* may then name a metric by a number, its
alias, and leave its type out. So births must be known, which is what :class:`collector.formats.sparkplug.nodes.Nodes`
is for. Data that can't be read without one is held back as ``missing_birth`` and can be replayed once it came.
"""

from typing import Literal

from pydantic import Field

from collector.formats.measurement import FormatOptions, Measured, Topic
from collector.formats.sparkplug.metrics import Birth, born, told
from collector.formats.sparkplug.nodes import Nodes, place
from collector.formats.sparkplug.payload import parse
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, quoted

_BIRTHS = ("NBIRTH", "DBIRTH")
_DEATHS = ("NDEATH", "DDEATH")


class SparkplugFormat(FormatOptions):
    """Sparkplug B 3.0; quantities are metrics, devices are called group/node/device, nodes group/node."""

    unlisted = "ignore"

    name: Literal["sparkplug"] = "sparkplug"
    rebirth: bool = Field(
        True,
        description="Ask an edge node for a rebirth (NCMD) where a birth of it was missed. The broker must let the "
        "collector publish on spBv1.0/+/NCMD/+.",
    )

    def reader(self) -> "SparkplugReader":
        """Return a reader that knows no birth yet."""
        return SparkplugReader(self)


class SparkplugReader:
    """Reads births and data; commands, deaths and states of host applications carry no reading.

    ``nodes`` is the one state a reader has; readers of one collector share it, and keep it when the registry changes.
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
            raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"{verb}, no data")
        if not message.payload:
            raise NoReadingError(IgnoredReason.EMPTY_PAYLOAD, "an empty payload")
        payload, raw = parse(message.payload)
        missed = self.nodes.follow(where, message.received, payload)
        birth: Birth | None
        if verb in _BIRTHS:
            birth, found, unclear = born(payload, raw, message.received, where.name)
            self.nodes.born(where, message, birth)
        else:
            birth = self.nodes.birth(where, message.received)
            found, unclear = ([], False) if verb in _DEATHS else told(payload, raw, birth, where.name)
        if self._rebirth and (missed or unclear or (birth is None and verb != "NDEATH")):
            self.nodes.ask(where, message.received)
        if birth is None and unclear:
            problem = next(one[-1] for one in found if one[-1] is not None and one[-1].reason is Reason.MISSING_BIRTH)
            raise UndecodableError(problem.reason, f"no birth of {quoted(where.name)} yet; {problem.detail}")
        if not found:
            raise NoReadingError(IgnoredReason.NO_VALUE, f"{verb} without values")
        return found
