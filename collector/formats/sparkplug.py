"""Format ``sparkplug``: Sparkplug B 3.0 (https://sparkplug.eclipse.org/specification/).

Edge nodes and their devices say in *births* which metrics they have; *data* may then name a metric by a number, its
alias, and leave its type out. So births must be known, which is what :class:`collector.formats.sparkplug_nodes.Nodes`
is for. Data that can't be read without one is held back as ``missing_birth`` and can be replayed once it came.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from collector.formats.measurement import FormatOptions, Measurement
from collector.formats.sparkplug_nodes import BDSEQ, Birth, Definition, Nodes, place
from collector.formats.sparkplug_payload import DataType, check_quality, parse
from collector.formats.sparkplug_payload import unit as own_unit
from collector.formats.values import UnusableError, shown
from collector.message import Message, NoReadingError, Reason, UndecodableError

_BIRTHS = ("NBIRTH", "DBIRTH")
_DEATHS = ("NDEATH", "DDEATH")
_CONTROLS = ("Node Control/", "Device Control/")
"""Metrics that take commands; with bdSeq they belong to the session."""

_INTEGER_FIELDS = frozenset(("int_value", "long_value"))
_NUMBER_FIELDS = _INTEGER_FIELDS | {"float_value", "double_value"}
_SIGNED: dict[int, int] = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
"""Type → bits."""
_KINDS: dict[int, frozenset[str]] = {
    **dict.fromkeys(range(DataType.INT8, DataType.FLOAT), _INTEGER_FIELDS),
    **dict.fromkeys((DataType.FLOAT, DataType.DOUBLE), _NUMBER_FIELDS),
    **dict.fromkeys((DataType.STRING, DataType.TEXT, DataType.UUID), frozenset(("string_value",))),
    DataType.BOOLEAN: frozenset(("boolean_value",)),
    DataType.DATETIME: _INTEGER_FIELDS,
}
"""Type → fields that may hold its values; not all senders keep to the one of the specification."""
_AS_IT_IS = {
    kind: frozenset(datatype for datatype, kinds in _KINDS.items() if kind in kinds and datatype not in _SIGNED)
    for kind in (*_NUMBER_FIELDS, "boolean_value")
}
"""Field → types whose values it holds as they are."""
_DATASET = int(DataType.DATASET)
_LEFT_OUT = frozenset(("bytes_value", "dataset_value", "template_value", "extension_value"))
_new = tuple.__new__  # which takes half the time of Measurement's own


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

    def read(self, message: Message, names: Mapping[str, str]) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        where = place(message.topic)
        if where.verb == "STATE":
            self.nodes.state(message)
        if where.verb in ("STATE", "NCMD", "DCMD"):
            raise NoReadingError(f"{where.verb}, no data")
        if not message.payload:
            raise NoReadingError("an empty payload")
        payload = parse(message.payload)
        missed = self.nodes.follow(where, message.received, payload)
        if where.verb in _BIRTHS:
            birth: Birth | None = self.nodes.born(where, message, payload)
        else:
            birth = self.nodes.birth(where, message.received)
        found: list[Measurement] = []
        unknown = birth is None and where.verb != "NDEATH"
        try:
            if where.verb not in _DEATHS and _read(payload, where.name, birth, found):
                unknown = True
        finally:
            if self._rebirth and (missed or unknown):
                self.nodes.ask(where, message.received)
        if not found:
            raise NoReadingError(f"{where.verb} without values")
        return found


def _read(  # noqa: C901 - the one loop for all metrics
    payload: Any, device: str, birth: Birth | None, found: list[Measurement]
) -> bool:
    """Add the measurements in ``payload``; raises :class:`UndecodableError` where ``birth`` is what lacks.

    Return whether some lack what no birth has said yet.
    """
    # Every look at a field of the library's takes as long as a look into three dictionaries.
    sent, unknown = payload.timestamp, False
    born: Mapping[Any, Definition] = {} if birth is None else birth.by_name
    for metric in payload.metrics:
        kind = metric.WhichOneof("value")
        if kind is None or kind in _LEFT_OUT or metric.is_null:
            continue
        name, datatype, unit = metric.name, metric.datatype, None
        time = (metric.timestamp or sent) * 1000 or None
        try:
            definition = born.get(name) or _definition(metric, name, birth)
            if definition is not None:
                name, said, unit = definition
                datatype = datatype or said
            if datatype >= _DATASET or name == BDSEQ or name.startswith(_CONTROLS):
                continue
            if metric.HasField("properties"):
                check_quality(metric)
                unit = own_unit(metric) or unit
            value = getattr(metric, kind)
            if datatype not in _AS_IT_IS.get(kind, ()):
                value = _value(value, kind, datatype, born=definition is not None)
        except UnusableError as error:
            if error.reason is Reason.MISSING_BIRTH:
                if birth is None:
                    raise UndecodableError(error.reason, f"no birth of {shown(device)} yet; {error.detail}") from error
                unknown = True
            found.append(
                Measurement(name if type(name) is str else "", "", time, unit, device, error.with_traceback(None))
            )
        else:
            found.append(_new(Measurement, (name, value, time, unit, device, None)))
    return unknown


def _definition(metric: Any, name: Any, birth: Birth | None) -> Definition | None:
    """Return what the birth says about a metric, None for one it lacks but that is named."""
    if type(name) is not str:  # the library gives bytes for what is no UTF-8
        raise UnusableError(Reason.MALFORMED, f"{shown(name)} is no name in UTF-8")
    if name:
        return birth.by_name.get(name) if birth is not None else None
    found = birth.by_alias.get(metric.alias) if birth is not None else None
    if found is None:
        raise UnusableError(Reason.MISSING_BIRTH, f"alias {metric.alias} is in no birth")
    return found


def _value(raw: Any, kind: str, datatype: int, *, born: bool) -> float | bool | str:
    """Return a metric's value by its type (section 6.4.16); raises :class:`UnusableError`."""
    due = _KINDS.get(datatype)
    if due is None:
        if kind in _INTEGER_FIELDS:
            reason = Reason.WRONG_TYPE if born else Reason.MISSING_BIRTH
            raise UnusableError(reason, "an integer whose type, signed or not, is said nowhere")
    elif kind not in due:
        raise UnusableError(Reason.WRONG_TYPE, f"{kind} where datatype {datatype} is due")
    elif datatype in _SIGNED:
        return _signed(raw, _SIGNED[datatype])
    if type(raw) is bytes:
        raise UnusableError(Reason.WRONG_TYPE, f"{shown(raw)} is no text in UTF-8")
    return raw  # type: ignore[no-any-return]


def _signed(raw: int, bits: int) -> int:
    """Return what an unsigned field carries as two's complement, of the type's own width or the field's."""
    half = 1 << (bits - 1)
    if raw < half:
        return raw
    for width in (bits, 32, 64):
        if (1 << width) - half <= raw < 1 << width:
            return raw - (1 << width)
    raise UnusableError(Reason.WRONG_TYPE, f"{raw} is no integer of {bits} bits")
