"""Metrics of Sparkplug: births define them, births and data have their values. Pure.

Access to a field of the protobuf library takes as long as three dictionary look-ups. So plain metrics, which most are,
are read with as few accesses as possible, and all others by the general function. Section numbers are those of the
specification, version 3.0 (https://sparkplug.eclipse.org/specification/).
"""

from dataclasses import dataclass, field
from typing import Any

from collector.formats.measurement import Measured
from collector.formats.sparkplug.payload import check_quality, has, unit_of, which
from collector.formats.sparkplug.types import AS_THEY_ARE, DataType, by_type
from collector.message import Reason, UndecodableError, UnusableError, quoted

BDSEQ = "bdSeq"
"""Metric that identifies the birth to which a death belongs."""
_CONTROLS = ("Node Control/", "Device Control/")
"""Prefixes of metrics that are commands."""
_SESSION = (BDSEQ, *_CONTROLS)
_INITIALS = frozenset(name[0] for name in _SESSION)  # this check takes a third of the time of startswith()
_MOST_METRICS = 20_000
"""Metrics of one birth."""
_LEFT_OUT = frozenset((None, "bytes_value", "dataset_value", "template_value", "extension_value"))

_NONE: frozenset[str] = frozenset()

Definition = tuple[str, int, str | None, frozenset[str]]
"""A metric in a birth: name, datatype, unit, and the fields whose values need no conversion."""


@dataclass(slots=True)
class Birth:
    """The metrics of a node or a device."""

    received: int
    by_name: dict[str, Definition] = field(default_factory=dict)
    by_alias: dict[int, Definition] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Its share of the memory limit: itself and its metrics."""
        return 1 + len(self.by_name)


def birth_of(payload: Any, raw: bytes, received: int, device: str) -> tuple[Birth, list[Measured], bool]:
    """Return the birth in ``payload``, its measurements, and whether some metrics are not fully defined.

    ``payload`` and ``raw`` are those that :func:`collector.formats.sparkplug.payload.parse` returns. Raises
    :class:`UndecodableError` where it has too many metrics to store.
    """
    if len(payload.metrics) > _MOST_METRICS:
        raise UndecodableError(Reason.TOO_LARGE, f"a birth with more than {_MOST_METRICS} metrics")
    sent, marked = payload.timestamp, _marked(raw)
    aliased, zeros = b"\x10" in raw, b"\x10\x00" in raw  # the tag of field 2, and an alias of 0
    by_name: dict[str, Definition] = {}
    by_alias: dict[int, Definition] = {}
    measurements: list[Measured] = []
    nameless: list[Any] = []
    unclear = False
    for metric in payload.metrics:
        name, definition, unit = metric.name, None, None
        if name and type(name) is str:
            plain = not marked or not (metric.is_null or has(metric, "properties"))
            if not plain:
                unit = unit_of(metric)
            datatype, alias = metric.datatype, metric.alias if aliased else 0
            session = name[0] in _INITIALS and name.startswith(_SESSION)
            fields = _NONE if session else AS_THEY_ARE.get(datatype, _NONE)
            by_name[name] = definition = (name, datatype, unit, fields)
            if alias or (zeros and has(metric, "alias")):
                by_alias[alias] = definition
            kind = which(metric, "value") if plain else None
            if kind in fields and type(value := getattr(metric, kind)) is not bytes:
                measurements.append((name, value, (metric.timestamp or sent) * 1000 or None, None, device, None))
                continue
        if name:
            unclear |= _append(metric, definition, sent, device, measurements)
        else:
            nameless.append(metric)
    for metric in nameless:
        unclear |= _append(metric, by_alias.get(metric.alias), sent, device, measurements)
    return Birth(received, by_name, by_alias), measurements, unclear


def data_of(payload: Any, raw: bytes, birth: Birth | None, device: str) -> tuple[list[Measured], bool]:
    """Return the measurements in ``payload``, and whether ``birth`` lacks the definition of some.

    Without a birth they end at the first metric that needs one.
    """
    sent, marked = payload.timestamp, _marked(raw)
    by_name: dict[Any, Definition] = {} if birth is None else birth.by_name
    by_alias: dict[int, Definition] = {} if birth is None else birth.by_alias
    measurements: list[Measured] = []
    unclear = False
    for metric in payload.metrics:
        definition = by_name.get(name) if (name := metric.name) else by_alias.get(metric.alias)
        if definition is not None and not (marked and (metric.is_null or has(metric, "properties"))):
            name, born_as, unit, fields = definition
            kind, datatype = which(metric, "value"), metric.datatype
            known = kind in fields and (not datatype or datatype == born_as)
            if known and type(value := getattr(metric, kind)) is not bytes:
                measurements.append((name, value, (metric.timestamp or sent) * 1000 or None, unit, device, None))
                continue
        if _append(metric, definition, sent, device, measurements):
            unclear = True
            if birth is None:  # the whole message is quarantined until the birth arrives
                break
    return measurements, unclear


def _marked(raw: bytes) -> bool:
    """Return whether a metric in ``raw`` may be null (field 7) or have properties (field 9).

    The tags of these fields may also be bytes of a number or text; where they do not occur, no metric has the fields.
    """
    return b"\x38" in raw or b"\x4a" in raw


def _append(metric: Any, definition: Definition | None, sent: int, device: str, measurements: list[Measured]) -> bool:
    """Append the measurement of ``metric``, if it has one; return whether a birth is needed to read it."""
    name = metric.name if definition is None else definition[0]
    time = (metric.timestamp or sent) * 1000 or None
    try:
        read = _read(metric, name, definition)
    except UnusableError as error:
        measurements.append((name if type(name) is str else "", "", time, None, device, error.with_traceback(None)))
        return error.reason is Reason.MISSING_BIRTH
    if read is not None:
        measurements.append((name, read[0], time, read[1], device, None))
    return False


def _read(metric: Any, name: Any, definition: Definition | None) -> tuple[float | bool | str, str | None] | None:
    """Return value and unit of ``metric``; None: it is no measurement. Raises :class:`UnusableError`."""
    kind = which(metric, "value")
    if kind in _LEFT_OUT or metric.is_null:
        return None
    if type(name) is not str:  # the library returns bytes for a name that is not UTF-8
        raise UnusableError(Reason.MALFORMED, f"{quoted(name)} is not a name in UTF-8")
    if not name:
        raise UnusableError(Reason.MISSING_BIRTH, f"alias {metric.alias} is in no birth")
    _, born_as, unit, _ = definition or (name, 0, None, _NONE)
    datatype = metric.datatype or born_as
    if datatype >= DataType.DATASET or name == BDSEQ or name.startswith(_CONTROLS):
        return None
    check_quality(metric)
    value = by_type(getattr(metric, kind), kind, datatype, born=definition is not None)
    return value, unit_of(metric) or unit
