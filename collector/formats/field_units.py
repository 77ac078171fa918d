"""Units beside the values of format ``fields``: by the registry's pointer, or by a member named like a unit."""

from collections.abc import Iterable, Sequence
from typing import Any

from collector import units
from collector.formats import json_payload
from collector.formats.json_payload import Pointer
from collector.formats.measurement import UNIT_NAMES, ListedSensor, unit_names
from collector.message import Reason, UnusableError, quoted


class UnitFinder:
    """Finds the unit of a value in an object.

    ``narrow`` is the pointer to the unit of a narrow object; without it members that are named like a unit have no
    meaning.
    """

    def __init__(self, narrow: str | None) -> None:
        self._narrow = None if narrow is None else Pointer.compile(narrow)

    def unit(
        self,
        item: dict[str, Any],
        document: Any,
        value: tuple[str, Sequence[str]],
        sensor: ListedSensor,
        *,
        is_narrow: bool,
        alone: bool,
    ) -> str | None:
        """Return the unit of ``value``, a quantity and its place in ``item``; None: the message has no unit.

        ``alone``: no other quantity has its value in the same object. Raises
        :class:`~collector.message.UnusableError` for a unit that the registry neither reads nor expects.
        """
        name, path = value
        pointer = sensor.unit_pointers.get(name)
        if pointer is None and is_narrow:
            pointer = self._narrow
        if pointer is not None and (unit := _text(pointer.find_shared(item, document))) is not None:
            return unit
        if self._narrow is None or name in sensor.unit_pointers:
            return None
        return _neighbour(item, name, path, sensor, alone=alone)


def _text(raw: Any) -> str | None:
    return raw.strip() or None if type(raw) is str else None


def _neighbour(
    item: dict[str, Any], name: str, path: Sequence[str], sensor: ListedSensor, *, alone: bool
) -> str | None:
    *above, last = path or ("",)
    parent = json_payload.find(item, tuple(above))
    if type(parent) is not dict:
        return None
    names = unit_names(last)
    expected = sensor.units.get(name, ())
    for key, raw in parent.items():
        unit = _text(raw) if key in names else None
        if unit is None:
            continue
        code = units.code(unit) or unit
        if code in expected:
            return code
        if key not in UNIT_NAMES or alone or _is_convertible(code, expected):
            place = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in (*above, key))
            raise UnusableError(
                Reason.WRONG_UNIT,
                f"member {quoted(key)} beside it is {quoted(unit)}, and the registry has {' or '.join(expected)}; "
                f'add "unit_pointer": "{quoted(place)[1:-1]}" to the quantity to convert it, '
                'or "unit": null to the format if it is no unit',
            )
    return None


def _is_convertible(code: str, expected: Iterable[str]) -> bool:
    for unit in expected:
        try:
            units.conversion(code, unit)
        except ValueError:
            continue
        return True
    return False
