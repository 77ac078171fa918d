"""Backup and restore of the whole database, over pg_dump and pg_restore: roles, TimescaleDB and versions minded."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from core.database import Connection, connect, wrapped
from core.errors import DatabaseError
from timescale import migrate, pg_tools
from timescale.sql_files import HERE
from timescale.sql_files import run as run_script

_JOBS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself."""

    tables: int
    """Tables that it has rows of."""
    postgresql: int
    """Major version of the server that it's of."""
    timescaledb: str | None
    """Version of its extension; None: it's of the edition postgresql."""
    owners: frozenset[str]
    """Roles that own something in it."""
    grantees: frozenset[str]
    """Roles that are granted something in it."""


@dataclass(frozen=True)
class Restored:
    """What a restore has done."""

    tables: int
    made: tuple[str, ...]
    """Roles that the server lacked, made without a login."""
    revision: str


def backup(target: Path, *, folder: bool) -> int:
    """Write the database that ``PG*`` name to ``target``, which appears whole or not at all; return its size in bytes.

    One file in pg_dump's custom format, or a ``folder`` in its directory format, written by several processes; for its
    owner's eyes alone. All of it is the state of one moment, and nobody waits for it but who wants to change tables.
    Raises :class:`DatabaseError`.
    """
    if target.exists() or target.is_symlink():
        raise DatabaseError(f"{target} is there already: name another one, or remove it.")
    with connect(application_name="timescale-backup") as connection, wrapped("backup"):
        migrate.edition(connection)
        major = connection.info.server_version // 10_000
        (tables,) = connection.execute(_TABLES).fetchall()[0]
    program = pg_tools.find("pg_dump", major)
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    form = ["--format=directory", f"--jobs={_JOBS}"] if folder else ["--format=custom"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with pg_tools.progress("backup", tables) as step:
            pg_tools.run([program, "--no-password", *form, "--file", part], step)
        part.rename(target)
    except OSError as error:
        raise DatabaseError(f"{target} can't be written: {error.strerror or error}") from error
    finally:
        _remove(part)
    files = target.iterdir() if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files)


def restore(source: Path, *, owners: bool = True) -> Restored:
    """Restore ``source`` into the database that ``PG*`` name, which must be empty.

    Without ``owners`` everything is the login's that restores. Raises :class:`DatabaseError`, where that can be known
    before anything is changed.
    """
    with connect(application_name="timescale-restore") as connection, wrapped("restore"):
        name, major = connection.info.dbname, connection.info.server_version // 10_000
        program = pg_tools.find("pg_restore", major)
        about = describe(source, program)
        _check(connection, about, major, owners=owners)
        made = _make_roles(connection, about.grantees)
        if about.timescaledb:
            # Its library is bound to a session by the first use.
            connection.execute("create extension if not exists timescaledb schema public")
    options = ["--no-password", "--exit-on-error", f"--dbname={name}", *([] if owners else ["--no-owner"])]
    if source.is_dir() and not about.timescaledb:  # its catalog must be restored in order
        options.append(f"--jobs={_JOBS}")
    _switch(about, "pre")
    try:
        with pg_tools.progress("restore", about.tables) as step:
            pg_tools.run([program, *options, source], step)
    except BaseException as error:
        with contextlib.suppress(DatabaseError):
            _switch(about, "post")
        if isinstance(error, DatabaseError):
            raise DatabaseError(
                f"{error}\nHalf of it is there: drop the database, create it anew, try again."
            ) from error
        raise
    _switch(about, "post")
    with connect(application_name="timescale-restore") as connection, wrapped("restore"):
        connection.execute("analyze")
        revision = migrate.revision(connection) or ""
        migrate.set_defaults(connection, migrate.edition(connection))
        if revision == migrate.head():
            # What is granted on a database itself is not in a dump of it.
            run_script(connection, HERE / "sql" / "definitions" / "99_roles.sql")
    return Restored(about.tables, made, revision)


def describe(source: Path, program: Path) -> Backup:
    """Return what ``program``, a pg_restore, reads of the backup ``source``."""
    if not source.exists():
        raise DatabaseError(f"there is no backup {source}")
    entries = _ask([program, "--list", source])
    version = re.search(r"^;\s+Dumped from database version: (\d+)", entries, re.MULTILINE)
    if version is None:
        raise DatabaseError(f"{source} doesn't say which PostgreSQL it is of: is it a backup by `timescale backup`?")
    schema = _ask([program, "--schema-only", "--file=-", source])
    timescaledb = None
    if re.search(r"^\d+; \d+ \d+ EXTENSION - timescaledb", entries, re.MULTILINE):
        said = _ask([program, "--data-only", "--schema=_timescaledb_catalog", "--table=metadata", "--file=-", source])
        found = re.search(r"^timescaledb_version\t(\S+)", said, re.MULTILINE)
        timescaledb = found.group(1) if found else "of an unknown version"
    return Backup(
        tables=len(re.findall(r"^\d+; \d+ \d+ TABLE DATA ", entries, re.MULTILINE)),
        postgresql=int(version.group(1)),
        timescaledb=timescaledb,
        owners=_roles(rf"^ALTER .* OWNER TO {_NAME};$", schema)
        | _roles(rf"^ALTER DEFAULT PRIVILEGES FOR ROLE {_NAME} ", schema),
        grantees=_roles(rf"^(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO {_NAME}(?: WITH GRANT OPTION)?;$", schema)
        - {"PUBLIC"},
    )


def _check(connection: Connection, about: Backup, major: int, *, owners: bool) -> None:
    name = connection.info.dbname
    if connection.execute(_THERE).fetchall() != [(0,)]:
        raise DatabaseError(
            f"the database {name} is not empty; restore into a new one: `createdb --template=template0 NAME`."
        )
    if about.postgresql > major:
        raise DatabaseError(
            f"the backup is of PostgreSQL {about.postgresql}, and the server has {major}. Restore into a server of "
            f"PostgreSQL {about.postgresql} or newer."
        )
    if about.timescaledb:
        ((offered, present),) = connection.execute(_EXTENSION).fetchall()
        version = present or offered
        if version != about.timescaledb:
            has = f"TimescaleDB {version}" if version else "no TimescaleDB"
            raise DatabaseError(
                f"the backup is of TimescaleDB {about.timescaledb}, and the server has {has}. Install that version, "
                "restore, and update it then (docs/operations.md)."
            )
    missing = sorted(about.owners - _known(connection)) if owners else []
    if missing:
        raise DatabaseError(
            f"the server lacks logins that own something in the backup: {', '.join(missing)}. Create them first "
            "(docs/security.md), or with --no-owner have all belong to the login that restores."
        )


def _make_roles(connection: Connection, wanted: frozenset[str]) -> tuple[str, ...]:
    """Make the group roles that the server lacks; who is a member of them is not in a backup."""
    missing = sorted(wanted - _known(connection))
    for name in missing:
        connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(name)))
    return tuple(missing)


def _known(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute("select rolname from pg_catalog.pg_roles").fetchall()}


def _switch(about: Backup, moment: str) -> None:
    """Tell TimescaleDB that a restore begins or has ended: meanwhile its jobs and its checks rest."""
    if about.timescaledb:
        with connect(application_name="timescale-restore") as connection, wrapped("restore"):
            connection.execute(f"select public.timescaledb_{moment}_restore()".encode())


def _ask(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "unsupported version" in done.stderr:
        raise DatabaseError(
            f"{command[-1]} was made by a newer pg_dump than {command[0]}: restore into a newer PostgreSQL, or install "
            "its newer client."
        )
    if done.returncode:
        raise DatabaseError(f"the backup can't be read: {done.stderr.strip()}")
    return done.stdout


_NAME = r'(?:"((?:[^"]|"")+)"|(\w+))'
_OWNER = rf"^ALTER (?:.* OWNER TO|DEFAULT PRIVILEGES FOR ROLE) {_NAME}\b"
_GRANTEE = rf"^(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO {_NAME}(?: WITH GRANT OPTION)?;$"


def _roles(pattern: str, schema: str) -> frozenset[str]:
    found = re.findall(pattern, schema, re.MULTILINE)
    return frozenset(quoted.replace('""', '"') or plain for quoted, plain in found)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Extensions bring what is theirs.
_THERE = """
    select count(*)
    from pg_catalog.pg_class as class
    inner join pg_catalog.pg_namespace as namespace on class.relnamespace = namespace.oid
    where
        namespace.nspname not in ('pg_catalog', 'information_schema') and namespace.nspname !~ '^(pg_|_?timescaledb_)'
        and not exists (select from pg_catalog.pg_depend where objid = class.oid and deptype = 'e')
"""
_TABLES = """
    select count(*)
    from pg_catalog.pg_class as class
    inner join pg_catalog.pg_namespace as namespace on class.relnamespace = namespace.oid
    where class.relkind = 'r' and namespace.nspname not in ('pg_catalog', 'information_schema')
"""
_EXTENSION = """
    select
        (select default_version from pg_catalog.pg_available_extensions where name = 'timescaledb') as offered,
        (select extversion from pg_catalog.pg_extension where extname = 'timescaledb') as present
"""
