"""Roles of a file's columns: time, sensor, quantities and values. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collector.files.options import FileError, Options

_TIME = ("timestamp", "time", "datetime", "date", "ts")
_SENSOR = ("sensor_id", "device_id")


@dataclass(frozen=True)
class Layout:
    """Names of the columns that are read.

    Either ``wide`` (one column per quantity) is set or ``quantity`` and ``value`` (one row per reading) are.
    """

    time: str
    """Name of the column, or names joined by ``+`` where ``time_parts`` are several columns."""
    sensor: str | None
    quantity: str | None = None
    value: str | None = None
    wide: tuple[tuple[str, str], ...] = ()
    """Pairs of quantity and column."""
    time_parts: tuple[str, ...] = ()
    """Columns whose texts, joined by blanks, are the time; empty: the column ``time`` is."""

    @property
    def columns(self) -> list[str]:
        """The columns to read, each once."""
        named = (
            *(self.time_parts or (self.time,)),
            self.sensor,
            self.quantity,
            self.value,
            *(column for _, column in self.wide),
        )
        return list(dict.fromkeys(name for name in named if name is not None))


def find(columns: Sequence[str], options: Options, quantities: Iterable[str], where: str) -> Layout:
    """Return the roles of the ``columns`` of file ``where``, by ``options`` or else by their names.

    ``quantities`` are those of the sensors that rows can be of. Raises :class:`FileError` that lists the columns and
    the option to add where a role is missing or ambiguous.
    """
    search = _Search(columns, options, where)
    parts = search.time_parts()
    time = "+".join(parts) if parts else search.column("time", _TIME)
    if time is None:
        raise search.error("no column is the time", "name it with --column time=COLUMN")
    sensor = None if options.sensor is not None else search.column("sensor_id", _SENSOR)
    if sensor is None and options.sensor is None:
        fix = "name the sensor with --sensor ID, or the column that names it with --column sensor_id=COLUMN"
        raise search.error("no column names the sensor", fix)
    known = tuple(quantities)
    chosen = {name for name in options.columns if name in known}
    if not chosen or "quantity" in options.columns:
        quantity, value = search.column("quantity", ("quantity",)), search.column("value", ("value",))
        if quantity is not None and value is not None:
            return search.distinct(Layout(time, sensor, quantity=quantity, value=value, time_parts=parts))
    wide = tuple((name, column) for name in known if (column := search.column(name, (name,))) is not None)
    if not wide:
        example = f"--column {known[0]}=COLUMN" if known else "--column QUANTITY=COLUMN"
        raise search.error(
            f"no column is a quantity of the registry ({', '.join(known[:12]) or 'it has none'})",
            f"name it with {example}, or, with one row per reading, --column quantity=COLUMN --column value=COLUMN",
        )
    return search.distinct(Layout(time, sensor, wide=wide, time_parts=parts))


class _Search:
    def __init__(self, columns: Sequence[str], options: Options, where: str) -> None:
        self._columns = columns
        self._options = options
        self._where = where

    def time_parts(self) -> tuple[str, ...]:
        """Return the columns that ``--column time=Date+Time`` names; empty for a single column."""
        given = self._options.columns.get("time", "")
        if "+" not in given or any(_plain(column) == _plain(given) for column in self._columns):
            return ()
        return tuple(self._named(part, "time") for part in given.split("+"))

    def _named(self, given: str, role: str) -> str:
        matches = [column for column in self._columns if column == given]
        matches = matches or [column for column in self._columns if _plain(column) == _plain(given)]
        if len(matches) != 1:
            problem = f"{len(matches)} columns are called {given}" if matches else f"no column {given}"
            raise self.error(problem, f"use one of them in --column {role}=COLUMN")
        return matches[0]

    def column(self, role: str, names: Sequence[str]) -> str | None:
        """Return the column for ``role``: the one in the options, else the only one with one of ``names``."""
        given = self._options.columns.get(role)
        if given is not None:
            matches = [column for column in self._columns if column == given]
            matches = matches or [column for column in self._columns if _plain(column) == _plain(given)]
            if not matches:
                raise self.error(f"no column {given}", f"use one of them in --column {role}=COLUMN")
        else:
            taken = {_plain(column) for column in self._options.columns.values()}
            wanted = set(map(_plain, names)) - taken
            matches = [column for column in self._columns if _plain(column) in wanted]
        if len(matches) > 1:
            raise self.error(
                f"columns {' and '.join(matches)} could each be the {role}",
                "rename one" if len(set(matches)) == 1 else _choose(role, matches),
            )
        return matches[0] if matches else None

    def distinct(self, layout: Layout) -> Layout:
        """Return ``layout`` if no column has two roles."""
        columns = [
            *(layout.time_parts or [layout.time]),
            layout.sensor,
            layout.quantity,
            layout.value,
            *(column for _, column in layout.wide),
        ]
        used = [column for column in columns if column is not None]
        for column in used:
            if used.count(column) > 1:
                raise self.error(f"column {column} has two roles", "give each --column another column")
        return layout

    def error(self, problem: str, fix: str) -> FileError:
        columns = ", ".join(map(_printable, self._columns[:30]))
        columns += ", …" if len(self._columns) > 30 else ""  # noqa: PLR2004 - a few lines' worth
        if len(self._columns) == 1 or columns.startswith("#"):
            fix += ". If this is not the header, name its line with --header-line, or skip lines before it with "
            fix += "--skip-lines or --comment '#'"
        return FileError(f"{self._where}: {problem}. It has the columns: {columns or 'none'}; {fix}")


def _choose(role: str, matches: Sequence[str]) -> str:
    joined = f", or join columns with --column time={'+'.join(matches)}" if role == "time" else ""
    return f"choose one with --column {role}=COLUMN{joined}"


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name[:60])


def _plain(name: str) -> str:
    return name.strip().casefold()
