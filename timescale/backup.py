"""Backup and restore of the whole database with pg_dump and pg_restore, including roles and TimescaleDB."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from core.database import Connection, connect, wrapped_errors
from core.errors import DatabaseError
from timescale import migrate, pg_tools
from timescale.sql_files import HERE
from timescale.sql_files import run as run_script

_JOBS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Backup:
    """Contents of a backup."""

    tables: int
    """Number of tables with rows."""
    postgresql: int
    """Major version of its server."""
    timescaledb: str | None
    """Version of the extension; None: edition postgresql."""
    owners: frozenset[str]
    """Roles that own objects in it."""
    grantees: frozenset[str]
    """Roles with grants in it."""


@dataclass(frozen=True)
class Restored:
    """Result of a restore."""

    tables: int
    created_roles: tuple[str, ...]
    """Roles that were missing on the server, created without login."""
    revision: str


def backup(target: Path, *, folder: bool) -> int:
    """Write the database of the ``PG*`` settings to ``target``, completely or not at all; return its size in bytes.

    The result is one file in pg_dump's custom format, or a ``folder`` in its directory format, written by several
    processes; only its owner can read it. The backup is a consistent snapshot; it blocks only DDL. Raises
    :class:`DatabaseError`.
    """
    if target.exists() or target.is_symlink():
        raise DatabaseError(f"{target} exists already: choose another name, or remove it.")
    with connect(application_name="timescale-backup") as connection, wrapped_errors("backup"):
        migrate.edition(connection)
        major = connection.info.server_version // 10_000
        (tables,) = connection.execute(_TABLES).fetchall()[0]
    program = pg_tools.find("pg_dump", major)
    part = target.with_name(f".{target.name}.part")
    _remove(part)
    format_options = ["--format=directory", f"--jobs={_JOBS}"] if folder else ["--format=custom"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with pg_tools.progress("backup", tables) as step:
            pg_tools.run([program, "--no-password", *format_options, "--file", part], step)
        part.rename(target)
    except OSError as error:
        raise DatabaseError(f"{target} can't be written: {error.strerror or error}") from error
    finally:
        _remove(part)
    files = target.iterdir() if target.is_dir() else [target]
    return sum(file.stat().st_size for file in files)


def restore(source: Path, *, owners: bool = True) -> Restored:
    """Restore ``source`` into the database of the ``PG*`` settings, which must be empty.

    Without ``owners`` the restoring login owns all objects. Raises :class:`DatabaseError`, if possible before any
    change.
    """
    with connect(application_name="timescale-restore") as connection, wrapped_errors("restore"):
        name, major = connection.info.dbname, connection.info.server_version // 10_000
        program = pg_tools.find("pg_restore", major)
        contents = describe(source, program)
        _check(connection, contents, major, owners=owners)
        created_roles = _create_roles(connection, contents.grantees)
        if contents.timescaledb:
            # A session loads the library at its first use.
            connection.execute("create extension if not exists timescaledb schema public")
    options = ["--no-password", "--exit-on-error", f"--dbname={name}"]
    if source.is_dir() and not contents.timescaledb:  # its catalog must be restored in order
        options.append(f"--jobs={_JOBS}")
    _set_restore_mode(contents, "pre")
    try:
        with tempfile.NamedTemporaryFile("w") as entries, pg_tools.progress("restore", contents.tables) as step:
            if not owners:
                entries.write(_without_default_privileges(_output([program, "--list", source])))
                entries.flush()
                options += ["--no-owner", f"--use-list={entries.name}"]
            pg_tools.run([program, *options, source], step)
    except BaseException as error:
        with contextlib.suppress(DatabaseError):
            _set_restore_mode(contents, "post")
        if isinstance(error, DatabaseError):
            raise DatabaseError(
                f"{error}\nThe restore is incomplete: drop the database, create it again, and retry."
            ) from error
        raise
    _set_restore_mode(contents, "post")
    with connect(application_name="timescale-restore") as connection, wrapped_errors("restore"):
        connection.execute("analyze")
        revision = migrate.revision(connection) or ""
        migrate.set_defaults(connection, migrate.edition(connection))
        if revision == migrate.head():
            # A dump does not have the grants on the database itself.
            run_script(connection, HERE / "sql" / "definitions" / "99_roles.sql")
    return Restored(contents.tables, created_roles, revision)


def describe(source: Path, program: Path) -> Backup:
    """Return the contents of the backup ``source``, read with ``program`` (pg_restore)."""
    if not source.exists():
        raise DatabaseError(f"no such backup: {source}")
    entries = _output([program, "--list", source])
    version = re.search(r"^;\s+Dumped from database version: (\d+)", entries, re.MULTILINE)
    if version is None:
        raise DatabaseError(f"{source} has no PostgreSQL version: is it a backup made by `timescale backup`?")
    schema = _output([program, "--schema-only", "--file=-", source])
    timescaledb = None
    if re.search(r"^\d+; \d+ \d+ EXTENSION - timescaledb", entries, re.MULTILINE):
        metadata = _output(
            [program, "--data-only", "--schema=_timescaledb_catalog", "--table=metadata", "--file=-", source]
        )
        match = re.search(r"^timescaledb_version\t(\S+)", metadata, re.MULTILINE)
        timescaledb = match.group(1) if match else "of an unknown version"
    return Backup(
        tables=len(re.findall(r"^\d+; \d+ \d+ TABLE DATA ", entries, re.MULTILINE)),
        postgresql=int(version.group(1)),
        timescaledb=timescaledb,
        owners=_roles(rf"^ALTER .* OWNER TO {_NAME};$", schema)
        | _roles(rf"^ALTER DEFAULT PRIVILEGES FOR ROLE {_NAME} ", schema),
        grantees=_roles(rf"^(?:GRANT|ALTER DEFAULT PRIVILEGES) .* TO {_NAME}(?: WITH GRANT OPTION)?;$", schema)
        - {"PUBLIC"},
    )


def _check(connection: Connection, contents: Backup, major: int, *, owners: bool) -> None:
    name = connection.info.dbname
    if connection.execute(_OBJECTS).fetchall() != [(0,)]:
        raise DatabaseError(
            f"the database {name} is not empty; restore into a new one: `createdb --template=template0 NAME`."
        )
    if contents.postgresql > major:
        raise DatabaseError(
            f"the backup is from PostgreSQL {contents.postgresql}, and the server has {major}. Restore into a server "
            f"of PostgreSQL {contents.postgresql} or newer."
        )
    if contents.timescaledb:
        ((available, installed),) = connection.execute(_EXTENSION).fetchall()
        version = installed or available
        if version != contents.timescaledb:
            server_has = f"TimescaleDB {version}" if version else "no TimescaleDB"
            raise DatabaseError(
                f"the backup is from TimescaleDB {contents.timescaledb}, and the server has {server_has}. Install "
                "that version, restore, and then update it (docs/operations.md)."
            )
    missing = sorted(contents.owners - _existing_roles(connection)) if owners else []
    if missing:
        raise DatabaseError(
            f"the server lacks roles that own objects in the backup: {', '.join(missing)}. Create them first "
            "(docs/security.md), or use --no-owner: then the restoring login owns all objects."
        )


def _create_roles(connection: Connection, roles: frozenset[str]) -> tuple[str, ...]:
    """Create missing group roles; a backup does not have their members."""
    missing = sorted(roles - _existing_roles(connection))
    for name in missing:
        connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(name)))
    return tuple(missing)


def _existing_roles(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute("select rolname from pg_catalog.pg_roles").fetchall()}


def _set_restore_mode(contents: Backup, phase: str) -> None:
    """Call TimescaleDB's function before ("pre") or after ("post") a restore; in between, jobs and checks are off."""
    if contents.timescaledb:
        with connect(application_name="timescale-restore") as connection, wrapped_errors("restore"):
            connection.execute(f"select public.timescaledb_{phase}_restore()".encode())


def _without_default_privileges(entries: str) -> str:
    """Remove default privileges from a list of ``pg_restore --list``: they name owners, even with --no-owner."""
    return re.sub(r"^\d+; \d+ \d+ DEFAULT ACL .*\n", "", entries, flags=re.MULTILINE)


def _output(command: Sequence[str | Path]) -> str:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if "unsupported version" in result.stderr:
        raise DatabaseError(
            f"{command[-1]} was created by a newer pg_dump than {command[0]}: restore into a newer PostgreSQL, or "
            "install a newer client."
        )
    if result.returncode:
        raise DatabaseError(f"the backup can't be read: {result.stderr.strip()}")
    return result.stdout


_NAME = r'(?:"((?:[^"]|"")+)"|(\w+))'


def _roles(pattern: str, schema: str) -> frozenset[str]:
    names = re.findall(pattern, schema, re.MULTILINE)
    return frozenset(quoted.replace('""', '"') or plain for quoted, plain in names)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# Without objects of extensions.
_OBJECTS = """
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
        (select default_version from pg_catalog.pg_available_extensions where name = 'timescaledb') as available,
        (select extversion from pg_catalog.pg_extension where extname = 'timescaledb') as installed
"""
