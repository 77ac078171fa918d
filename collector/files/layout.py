"""Which column of a file is what. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collector.files.options import FileError, Options

_TIME = ("timestamp", "time", "datetime", "date", "ts")
_SENSOR = ("sensor_id", "device_id")


@dataclass(frozen=True)
class Layout:
    """Names of the columns that are read.

    Either ``wide`` (one column a quantity) is given or ``quantity`` and ``value`` (one row a reading) are.
    """

    time: str
    sensor: str | None
    quantity: str | None = None
    value: str | None = None
    wide: tuple[tuple[str, str], ...] = ()
    """Pairs of quantity and column."""

    @property
    def columns(self) -> list[str]:
        """The columns to read, each once."""
        named = (self.time, self.sensor, self.quantity, self.value, *(column for _, column in self.wide))
        return list(dict.fromkeys(name for name in named if name is not None))


def find(columns: Sequence[str], options: Options, quantities: Iterable[str], where: str) -> Layout:
    """Return what the ``columns`` of file ``where`` are, by ``options`` first and by their names else.

    ``quantities`` are those of the sensors in question. Raises :class:`FileError` that lists the columns and says
    what to add when something is not found or could be several.
    """
    search = _Search(columns, options, where)
    time = search.one("time", _TIME)
    if time is None:
        raise search.error("no column is the time", "say which is with --column time=COLUMN")
    sensor = None if options.sensor is not None else search.one("sensor_id", _SENSOR)
    if sensor is None and options.sensor is None:
        mend = "say which sensor with --sensor ID, or which column names it with --column sensor_id=COLUMN"
        mend = "say which sensor with --sensor ID, or which column names it with --column sensor_id=COLUMN"
        raise search.error("no column names the sensor", mend)
    known = tuple(quantities)
    chosen = {name for name in options.columns if name in known}
    if not chosen or "quantity" in options.columns:
        quantity, value = search.one("quantity", ("quantity",)), search.one("value", ("value",))
        if quantity is not None and value is not None:
            return search.distinct(Layout(time, sensor, quantity=quantity, value=value))
    wide = tuple((name, column) for name in known if (column := search.one(name, (name,))) is not None)
    if not wide:
        example = f"--column {known[0]}=COLUMN" if known else "--column QUANTITY=COLUMN"
        raise search.error(
            f"no column is a quantity of the registry ({', '.join(known[:12]) or 'it has none'})",
            f"say which is with {example}, or, with one row a reading, --column quantity=COLUMN --column value=COLUMN",
        )
    return search.distinct(Layout(time, sensor, wide=wide))


class _Search:
    def __init__(self, columns: Sequence[str], options: Options, where: str) -> None:
        self._columns = columns
        self._options = options
        self._where = where

    def one(self, role: str, names: Sequence[str]) -> str | None:
        """Return the column for ``role``: the one the options name, else the only one called one of ``names``."""
        given = self._options.columns.get(role)
        if given is not None:
            found = [column for column in self._columns if column == given]
            found = found or [column for column in self._columns if _plain(column) == _plain(given)]
            if not found:
                raise self.error(f"no column {given}", f"name one of them in --column {role}=COLUMN")
        else:
            taken = {_plain(column) for column in self._options.columns.values()}
            found = [column for column in self._columns if _plain(column) in names and _plain(column) not in taken]
        if len(found) > 1:
            raise self.error(
                f"columns {' and '.join(found)} could each be the {role}",
                "rename one" if len(set(found)) == 1 else f"say which is with --column {role}=COLUMN",
            )
        return found[0] if found else None

    def distinct(self, layout: Layout) -> Layout:
        """Return ``layout`` if no column is two things."""
        columns = [layout.time, layout.sensor, layout.quantity, layout.value, *(column for _, column in layout.wide)]
        used = [column for column in columns if column is not None]
        for column in used:
            if used.count(column) > 1:
                raise self.error(f"column {column} is used as two things", "give each --column a column of its own")
        return layout

    def error(self, problem: str, mend: str) -> FileError:
        columns = ", ".join(map(_printable, self._columns[:30]))
        columns += ", …" if len(self._columns) > 30 else ""  # noqa: PLR2004 - a few lines' worth
        return FileError(f"{self._where}: {problem}. It has the columns: {columns or 'none'}; {mend}")


def _printable(name: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name[:60])


def _plain(name: str) -> str:
    return name.strip().casefold()
