"""What Sparkplug's metrics say: births define them, births and data have values of them. Pure.

Every look at a field of the library's takes as long as three into dictionaries: plain metrics, as most are, are read
with as few as there may be, and whatever is the matter with one, it is left to what knows every case. Section numbers
are those of the specification, version 3.0 (https://sparkplug.eclipse.org/specification/).
"""

from dataclasses import dataclass, field
from typing import Any

from collector.formats.measurement import Measured
from collector.formats.sparkplug.payload import check_quality, has, unit_of, which
from collector.formats.sparkplug.types import AS_THEY_ARE, DataType, by_type
from collector.message import Reason, UndecodableError, UnusableError, quoted

BDSEQ = "bdSeq"
"""Metric that says which death belongs to which birth."""
_CONTROLS = ("Node Control/", "Device Control/")
"""Metrics that take commands."""
_SESSION = (BDSEQ, *_CONTROLS)
_INITIALS = frozenset(name[0] for name in _SESSION)  # a look at these takes a third of startswith()'s time
_MOST_METRICS = 20_000
"""Of one birth."""
_LEFT_OUT = frozenset((None, "bytes_value", "dataset_value", "template_value", "extension_value"))

_NONE: frozenset[str] = frozenset()

Definition = tuple[str, int, str | None, frozenset[str]]
"""What a birth says about a metric: name, datatype, unit, and the fields whose values are readings as they are."""


@dataclass(slots=True)
class Birth:
    """The metrics of a node or a device."""

    received: int
    by_name: dict[str, Definition] = field(default_factory=dict)
    by_alias: dict[int, Definition] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """How much of it is kept: itself and its metrics."""
        return 1 + len(self.by_name)


def born(payload: Any, raw: bytes, received: int, device: str) -> tuple[Birth, list[Measured], bool]:
    """Return the birth in ``payload``, its measurements, and whether some lack what it doesn't say.

    ``payload`` and ``raw`` are as :func:`collector.formats.sparkplug.payload.parse` returns them. Raises
    :class:`UndecodableError` where its metrics are too many to remember.
    """
    if len(payload.metrics) > _MOST_METRICS:
        raise UndecodableError(Reason.TOO_LARGE, f"a birth of more than {_MOST_METRICS} metrics")
    sent, marked = payload.timestamp, _marked(raw)
    aliased, zeros = b"\x10" in raw, b"\x10\x00" in raw  # what field 2 begins with, and an alias that is 0
    by_name: dict[str, Definition] = {}
    by_alias: dict[int, Definition] = {}
    found: list[Measured] = []
    nameless: list[Any] = []
    unclear = False
    for one in payload.metrics:
        name, definition, unit = one.name, None, None
        if name and type(name) is str:
            plain = not marked or not (one.is_null or has(one, "properties"))
            if not plain:
                unit = unit_of(one)
            datatype, alias = one.datatype, one.alias if aliased else 0
            session = name[0] in _INITIALS and name.startswith(_SESSION)
            fields = _NONE if session else AS_THEY_ARE.get(datatype, _NONE)
            by_name[name] = definition = (name, datatype, unit, fields)
            if alias or (zeros and has(one, "alias")):
                by_alias[alias] = definition
            if plain and (kind := which(one, "value")) in fields and type(value := getattr(one, kind)) is not bytes:
                found.append((name, value, (one.timestamp or sent) * 1000 or None, None, device, None))
                continue
        if name:
            unclear |= _look(one, definition, sent, device, found)
        else:
            nameless.append(one)
    for one in nameless:
        unclear |= _look(one, by_alias.get(one.alias), sent, device, found)
    return Birth(received, by_name, by_alias), found, unclear


def told(payload: Any, raw: bytes, birth: Birth | None, device: str) -> tuple[list[Measured], bool]:
    """Return the measurements in ``payload``, and whether some lack what ``birth`` doesn't say.

    Without a birth they end where one is needed.
    """
    sent, marked = payload.timestamp, _marked(raw)
    by_name: dict[Any, Definition] = {} if birth is None else birth.by_name
    by_alias: dict[int, Definition] = {} if birth is None else birth.by_alias
    found: list[Measured] = []
    unclear = False
    for one in payload.metrics:
        definition = by_name.get(name) if (name := one.name) else by_alias.get(one.alias)
        if definition is not None and not (marked and (one.is_null or has(one, "properties"))):
            name, born_as, unit, fields = definition
            kind, datatype = which(one, "value"), one.datatype
            known = kind in fields and (not datatype or datatype == born_as)
            if known and type(value := getattr(one, kind)) is not bytes:
                found.append((name, value, (one.timestamp or sent) * 1000 or None, unit, device, None))
                continue
        if _look(one, definition, sent, device, found):
            unclear = True
            if birth is None:  # all of it has to wait
                break
    return found, unclear


def _marked(raw: bytes) -> bool:
    """Say whether a metric in ``raw`` may be null (field 7) or have properties (field 9).

    What these fields begin with may be part of a number or text; where it isn't, none of the metrics need be asked.
    """
    return b"\x38" in raw or b"\x4a" in raw


def _look(metric: Any, definition: Definition | None, sent: int, device: str, found: list[Measured]) -> bool:
    """Add what ``metric`` says, if it is a reading; return whether a birth is needed to read it."""
    name = metric.name if definition is None else definition[0]
    time = (metric.timestamp or sent) * 1000 or None
    try:
        read = _read(metric, name, definition)
    except UnusableError as error:
        found.append((name if type(name) is str else "", "", time, None, device, error.with_traceback(None)))
        return error.reason is Reason.MISSING_BIRTH
    if read is not None:
        found.append((name, read[0], time, read[1], device, None))
    return False


def _read(metric: Any, name: Any, definition: Definition | None) -> tuple[float | bool | str, str | None] | None:
    """Return value and unit of ``metric``, None where it is no reading by its nature; raises :class:`UnusableError`."""
    kind = which(metric, "value")
    if kind in _LEFT_OUT or metric.is_null:
        return None
    if type(name) is not str:  # the library gives bytes for what is no UTF-8
        raise UnusableError(Reason.MALFORMED, f"{quoted(name)} is no name in UTF-8")
    if not name:
        raise UnusableError(Reason.MISSING_BIRTH, f"alias {metric.alias} is in no birth")
    _, born_as, unit, _ = definition or (name, 0, None, _NONE)
    datatype = metric.datatype or born_as
    if datatype >= DataType.DATASET or name == BDSEQ or name.startswith(_CONTROLS):
        return None
    check_quality(metric)
    value = by_type(getattr(metric, kind), kind, datatype, born=definition is not None)
    return value, unit_of(metric) or unit
