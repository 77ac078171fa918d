"""Types of Sparkplug's metrics: which field of the protobuf message holds their values, and how.

Section numbers are those of the specification, version 3.0 (https://sparkplug.eclipse.org/specification/).
"""

from enum import IntEnum
from typing import Any

from collector.message import Reason, UnusableError, quoted


class DataType(IntEnum):
    """Enumeration DataType of section 6.4.16, as far as values are read from it."""

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
"""Type → bits."""
_FIELDS: dict[int, frozenset[str]] = {
    **dict.fromkeys(range(DataType.INT8, DataType.FLOAT), _INTEGER_FIELDS),
    **dict.fromkeys((DataType.FLOAT, DataType.DOUBLE), _NUMBER_FIELDS),
    **dict.fromkeys(_TEXTS, frozenset(("string_value",))),
    DataType.BOOLEAN: frozenset(("boolean_value",)),
    DataType.DATETIME: _INTEGER_FIELDS,
}
"""Type → fields that may hold its values; not all senders keep to the one of the specification."""
AS_THEY_ARE = {int(datatype): fields for datatype, fields in _FIELDS.items() if datatype not in _SIGNED}
"""Type → the fields that hold its values as they are; but texts that are no UTF-8 the library gives as bytes."""


def by_type(raw: Any, field: str, datatype: int, *, born: bool) -> float | bool | str:
    """Return what ``raw``, in ``field``, is by its type (section 6.4.16); raises :class:`UnusableError`.

    ``born``: a birth has defined the metric, so that a type it doesn't say is said nowhere.
    """
    due = _FIELDS.get(datatype)
    if due is None:
        if field in _INTEGER_FIELDS:
            reason = Reason.WRONG_TYPE if born else Reason.MISSING_BIRTH
            raise UnusableError(reason, "an integer whose type, signed or not, is said nowhere")
    elif field not in due:
        raise UnusableError(Reason.WRONG_TYPE, f"expected a value of datatype {datatype}, got {field}")
    elif datatype in _SIGNED:
        return _signed(raw, _SIGNED[datatype])
    if type(raw) is bytes:
        raise UnusableError(Reason.WRONG_TYPE, f"{quoted(raw)} is no text in UTF-8")
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
