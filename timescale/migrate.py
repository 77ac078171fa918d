"""Migrates a database to the schema of this code: Alembic records the revision, plain SQL files define the schema."""

from dataclasses import dataclass

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.database import Connection, connect, wrapped_errors
from core.errors import DatabaseError
from core.settings import load
from local_services.postgres_binaries import Choice, Edition
from timescale.retention import Retention
from timescale.settings import TimescaleSettings
from timescale.sql_files import HERE, VERSION_SCHEMA, VERSION_TABLE, define

_LOCK_TABLE = """
create schema if not exists telemetry;
create table if not exists telemetry.lock (name text primary key, holder integer, holder_started timestamptz);
insert into telemetry.lock (name) values ('migration') on conflict (name) do nothing
"""
_LOCK = "set local lock_timeout = '10min'; select from telemetry.lock where name = 'migration' for update"
"""Of concurrent migrations the second waits and then has nothing to do."""


_DEFAULTS = {
    # A batch of late readings may decompress more than the default of 100,000 rows in the columnstore.
    "timescaledb.max_tuples_decompressed_per_dml_transaction": 0,
    # TOAST stores a column of a batch in pieces of 1,996 bytes, four per page. Values with two decimals take up to 6.8
    # bytes: 880 fill three pieces, and a piece of the next batch fits on the page; 1,000 would need a short fourth
    # piece.
    "timescaledb.compression_batch_size_limit": 880,
}
"""Settings of databases with TimescaleDB."""


@dataclass(frozen=True)
class Migration:
    """Result of :func:`migrate`."""

    edition: Edition
    before: str | None
    """Revision before; None: the database was empty."""
    after: str
    applied: tuple[str, ...]
    """The applied migrations, as ``0001 The registry.``"""
    retention: Retention
    """The retention of raw readings."""
    warnings: tuple[str, ...] = ()
    """Optional steps that failed, each with its fix."""


def migrate(to: str = "head") -> Migration:
    """Migrate the database of the ``PG*`` settings to revision ``to``; a second run changes nothing.

    Everything is one transaction. Raises :class:`SettingError` for a wrong setting before connecting, and
    :class:`DatabaseError` if the database is newer than this code or can't be migrated.
    """
    settings = load(TimescaleSettings)
    retention = Retention.of(settings)
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    with (
        connect(application_name="timescale-migrate") as guard,
        connect(autocommit=False, application_name="timescale-migrate") as lock,
        wrapped_errors("migrate"),
    ):
        _create_lock(guard)
        lock.execute(_LOCK)
        before = revision(guard)
        known_revisions = [script.revision for script in scripts.walk_revisions()]
        if before is not None and before not in known_revisions:
            raise DatabaseError(
                f"the database is at revision {before}, which this version of the code does not have (its newest is "
                f"{head()}): the database is newer than the code. Upgrade the code; nothing has been changed."
            )
        database_edition = edition(guard) if before is not None else _choose_edition(guard, settings.edition)
        with _engine().connect() as connection, connection.begin():
            driver = connection.connection.driver_connection
            assert driver is not None
            config.attributes |= {"connection": connection, "driver_connection": driver, "edition": database_edition}
            command.upgrade(config, to)
            after = revision(driver) or ""
            warnings: list[str] = []
            if after == head():
                driver.add_notice_handler(lambda notice: _add_warning(notice, warnings))
                define(driver, database_edition)
                retention.store(driver)
        set_defaults(guard, database_edition)
    applied = [
        f"{script.revision} {script.doc}"
        for script in reversed(list(scripts.walk_revisions()))
        if (before or "") < script.revision <= after
    ]
    return Migration(database_edition, before, after, tuple(applied), retention, tuple(warnings))


def _create_lock(connection: Connection) -> None:
    """Create the row that migrations lock, unless a concurrent one does."""
    for attempt in range(3):
        try:
            connection.execute(_LOCK_TABLE)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateSchema):
            if attempt == 2:  # noqa: PLR2004 - the last one
                raise
        else:
            return


def _add_warning(notice: psycopg.errors.Diagnostic, warnings: list[str]) -> None:
    if notice.severity_nonlocalized == "WARNING":
        warnings.append(". ".join(part for part in (notice.message_primary, notice.message_hint) if part))


def head() -> str:
    """Return the newest revision of this code."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(connection: Connection) -> str | None:
    """Return the revision of the database, or None if it has not been migrated."""
    if _value(connection, "select to_regclass(%s) is null", f"{VERSION_SCHEMA}.{VERSION_TABLE}"):
        return None
    row = connection.execute("select version_num from telemetry.revision").fetchone()
    return None if row is None else str(row[0])


def edition(connection: Connection) -> Edition:
    """Return the edition of a migrated database; raises :class:`DatabaseError` if it is not migrated."""
    if revision(connection) is None:
        raise DatabaseError("the database has not been migrated. Run `timescale migrate`.")
    if not _value(connection, "select exists (select from pg_catalog.pg_extension where extname = 'timescaledb')"):
        return "postgresql"
    # A database at an early revision has no readings table yet, only the extension.
    if _value(connection, "select to_regclass('telemetry.reading') is null"):
        return "timescaledb"
    is_hypertable = _value(
        connection,
        "select exists (select from timescaledb_information.hypertables "
        "where hypertable_schema = 'telemetry' and hypertable_name = 'reading')",
    )
    return "timescaledb" if is_hypertable else "postgresql"


def _choose_edition(connection: Connection, choice: Choice) -> Edition:
    """Return the edition for a new database; create the extension if it is TimescaleDB."""
    if choice == "postgresql":
        return "postgresql"
    available = _value(
        connection, "select exists (select from pg_catalog.pg_available_extensions where name = 'timescaledb')"
    )
    if not available:
        if choice == "timescaledb":
            raise DatabaseError(
                "this server has no TimescaleDB. Install its Community edition, or set TIMESCALE_EDITION=postgresql."
            )
        return "postgresql"
    # Only superusers see the setting; for other logins TimescaleDB itself reports that it is not loaded.
    loaded = _value(connection, "select setting from pg_catalog.pg_settings where name = 'shared_preload_libraries'")
    if loaded is not None and "timescaledb" not in str(loaded):
        raise DatabaseError(
            "TimescaleDB is installed on this server but not loaded. Add timescaledb to shared_preload_libraries and "
            "restart the server, or set TIMESCALE_EDITION=postgresql."
        )
    # The licence is visible only after the extension is created; if refused, the transaction is rolled back.
    with connection.transaction():
        connection.execute("create extension if not exists timescaledb schema public")
        licence = _value(connection, "select current_setting('timescaledb.license')")
        if licence != "timescale":
            raise DatabaseError(
                f"the TimescaleDB of this server is the Apache edition (timescaledb.license is {licence}), which lacks "
                "continuous aggregates. Install the Community edition, or set TIMESCALE_EDITION=postgresql."
            )
    return "timescaledb"


def set_defaults(connection: Connection, edition: Edition) -> None:
    """Set defaults for every session of a database with TimescaleDB; they are not part of a dump."""
    if edition == "postgresql":
        return
    name = _value(connection, "select pg_catalog.quote_ident(current_database())")
    for setting, value in _DEFAULTS.items():
        # Not every version has all of them.
        if _value(connection, "select exists (select from pg_catalog.pg_settings where name = %s)", setting):
            connection.execute(f"alter database {name} set {setting} = {value}".encode())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    return config


def _engine() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(autocommit=False, application_name="timescale-migrate"),
        poolclass=sqlalchemy.NullPool,
    )  # fmt: skip


def _value(connection: Connection, query: str, *values: str) -> object:
    row = connection.execute(query.encode(), values or None).fetchone()
    return None if row is None else row[0]
