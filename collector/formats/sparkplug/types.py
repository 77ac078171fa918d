"""Types of Sparkplug's metrics: the field of the protobuf message with their value, and its encoding.

Section numbers are those of the specification, version 3.0 (https://sparkplug.eclipse.org/specification/).
"""

from enum import IntEnum
from typing import Any

from collector.message import Reason, UnusableError, quoted


class DataType(IntEnum):
    """Enumeration DataType of section 6.4.16, without the types that are not read."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16


_INTEGER_FIELDS = frozenset(("int_value", "long_value"))
_NUMBER_FIELDS = _INTEGER_FIELDS | {"float_value", "double_value"}
_TEXTS = (DataType.STRING, DataType.TEXT, DataType.UUID)
_SIGNED: dict[int, int] = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
"""Signed type → its bits."""
_FIELDS: dict[int, frozenset[str]] = {
    **dict.fromkeys(range(DataType.INT8, DataType.FLOAT), _INTEGER_FIELDS),
    **dict.fromkeys((DataType.FLOAT, DataType.DOUBLE), _NUMBER_FIELDS),
    **dict.fromkeys(_TEXTS, frozenset(("string_value",))),
    DataType.BOOLEAN: frozenset(("boolean_value",)),
    DataType.DATETIME: _INTEGER_FIELDS,
}
"""Type → fields that may have its values; not all senders use the one of the specification."""
AS_THEY_ARE = {int(datatype): fields for datatype, fields in _FIELDS.items() if datatype not in _SIGNED}
"""Type → the fields whose values need no conversion; texts that are not UTF-8 are bytes there."""


def by_type(raw: Any, field: str, datatype: int, *, born: bool) -> float | bool | str:
    """Return the value of ``raw``, in ``field``, by its type (section 6.4.16); raises :class:`UnusableError`.

    ``born``: a birth has defined the metric, so that its type, if missing there, is unknown.
    """
    fields = _FIELDS.get(datatype)
    if fields is None:
        if field in _INTEGER_FIELDS:
            reason = Reason.WRONG_TYPE if born else Reason.MISSING_BIRTH
            raise UnusableError(reason, "an integer without a type: it may be signed or not")
    elif field not in fields:
        raise UnusableError(Reason.WRONG_TYPE, f"expected a value of datatype {datatype}, got {field}")
    elif datatype in _SIGNED:
        return _signed(raw, _SIGNED[datatype])
    if type(raw) is bytes:
        raise UnusableError(Reason.WRONG_TYPE, f"{quoted(raw)} is not a text in UTF-8")
    return raw  # type: ignore[no-any-return]


def _signed(raw: int, bits: int) -> int:
    """Return the signed value of an unsigned field: two's complement, in the width of the type or of the field."""
    half = 1 << (bits - 1)
    if raw < half:
        return raw
    for width in (bits, 32, 64):
        if (1 << width) - half <= raw < 1 << width:
            return raw - (1 << width)
    raise UnusableError(Reason.WRONG_TYPE, f"{raw} is not an integer of {bits} bits")
