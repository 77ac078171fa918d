"""Brings a database to the schema of this code: Alembic keeps the revision, plain SQL files do the work."""

from dataclasses import dataclass

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.database import Connection, connect, wrapped
from core.errors import DatabaseError
from core.settings import load
from local_services.postgres_binaries import Choice, Edition
from timescale.retention import Retention
from timescale.settings import TimescaleSettings
from timescale.sql_files import HERE, VERSION_SCHEMA, VERSION_TABLE, define

_LOCK = 7233911046158836
"""Key of the advisory lock that keeps two migrations apart; any number that nobody else uses."""


_DEFAULTS = {
    # Late readings land in the columnstore, where a batch of them may touch more than the default 100,000 rows.
    "timescaledb.max_tuples_decompressed_per_dml_transaction": 0,
    # TOAST keeps a column of a batch in pieces of 1,996 bytes, four a page. Values with two decimals take up to 6.8
    # bytes: so many fill three pieces, and a piece of the next lies on the same page; of 1,000 a short fourth would.
    "timescaledb.compression_batch_size_limit": 880,
}
"""What databases with TimescaleDB are set to."""


@dataclass(frozen=True)
class Migration:
    """What one run of :func:`migrate` has done."""

    edition: Edition
    before: str | None
    """Revision found; None: the database was empty."""
    after: str
    applied: tuple[str, ...]
    """The migrations applied, as ``0001 The registry.``"""
    retention: Retention
    """What is to become of old raw readings."""
    warnings: tuple[str, ...] = ()
    """What could not be done and is not needed by everybody, with the mend."""


def migrate(to: str = "head") -> Migration:
    """Bring the database that ``PG*`` name to revision ``to``; running it again changes nothing.

    All of it happens in one transaction. Raises :class:`SettingError` for a wrong setting before it connects, and
    :class:`DatabaseError` when the database is newer than this code or can't be migrated.
    """
    settings = load(TimescaleSettings)
    retention = Retention.of(settings)
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    with connect(application_name="timescale-migrate") as guard, wrapped("migrate"):
        # Held by a session of its own until everything is done: a second migration waits here and then finds no work.
        guard.execute("select pg_catalog.pg_advisory_lock(%s)", (_LOCK,))
        before = revision(guard)
        known = [script.revision for script in scripts.walk_revisions()]
        if before is not None and before not in known:
            raise DatabaseError(
                f"the database is at revision {before}, which this version of the code does not know (it knows up to "
                f"{head()}): the database is newer than the code. Upgrade the code; nothing has been changed."
            )
        chosen = edition(guard) if before is not None else _choose(guard, settings.edition)
        guard.execute("create schema if not exists telemetry")
        with _engine().connect() as connection, connection.begin():
            driver = connection.connection.driver_connection
            assert driver is not None
            config.attributes |= {"connection": connection, "driver_connection": driver, "edition": chosen}
            command.upgrade(config, to)
            after = revision(driver) or ""
            warnings: list[str] = []
            if after == head():
                driver.add_notice_handler(lambda notice: _keep_warning(notice, warnings))
                define(driver, chosen)
                retention.store(driver)
        set_defaults(guard, chosen)
    applied = [
        f"{script.revision} {script.doc}"
        for script in reversed(list(scripts.walk_revisions()))
        if (before or "") < script.revision <= after
    ]
    return Migration(chosen, before, after, tuple(applied), retention, tuple(warnings))


def _keep_warning(notice: psycopg.errors.Diagnostic, warnings: list[str]) -> None:
    if notice.severity_nonlocalized == "WARNING":
        warnings.append(". ".join(part for part in (notice.message_primary, notice.message_hint) if part))


def head() -> str:
    """Return the newest revision that this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revision(connection: Connection) -> str | None:
    """Return the revision of the database, or None when it has not been migrated."""
    if _one(connection, "select to_regclass(%s) is null", f"{VERSION_SCHEMA}.{VERSION_TABLE}"):
        return None
    row = connection.execute("select version_num from telemetry.revision").fetchone()
    return None if row is None else str(row[0])


def edition(connection: Connection) -> Edition:
    """Return the edition of a migrated database; reads only."""
    if revision(connection) is None:
        raise DatabaseError("the database has not been migrated. Run `timescale migrate`.")
    if not _one(connection, "select exists (select from pg_catalog.pg_extension where extname = 'timescaledb')"):
        return "postgresql"
    # A database at a revision before the readings has no hypertable yet, but its extension tells.
    if _one(connection, "select to_regclass('telemetry.reading') is null"):
        return "timescaledb"
    is_hypertable = _one(
        connection,
        "select exists (select from timescaledb_information.hypertables "
        "where hypertable_schema = 'telemetry' and hypertable_name = 'reading')",
    )
    return "timescaledb" if is_hypertable else "postgresql"


def _choose(connection: Connection, choice: Choice) -> Edition:
    """Choose the edition of a fresh database, and create the extension where it is TimescaleDB."""
    if choice == "postgresql":
        return "postgresql"
    available = _one(
        connection, "select exists (select from pg_catalog.pg_available_extensions where name = 'timescaledb')"
    )
    if not available:
        if choice == "timescaledb":
            raise DatabaseError(
                "this server has no TimescaleDB. Install its Community edition, or set TIMESCALE_EDITION=postgresql."
            )
        return "postgresql"
    # A login that is no superuser may not see the setting; TimescaleDB then says itself that it is not loaded.
    loaded = _one(connection, "select setting from pg_catalog.pg_settings where name = 'shared_preload_libraries'")
    if loaded is not None and "timescaledb" not in str(loaded):
        raise DatabaseError(
            "TimescaleDB is installed on this server but not loaded. Add timescaledb to shared_preload_libraries and "
            "restart the server, or set TIMESCALE_EDITION=postgresql to do without."
        )
    # Its licence shows only once the extension is there; refused, it goes again with the transaction.
    with connection.transaction():
        connection.execute("create extension if not exists timescaledb schema public")
        licence = _one(connection, "select current_setting('timescaledb.license')")
        if licence != "timescale":
            raise DatabaseError(
                f"the TimescaleDB of this server is the Apache edition (timescaledb.license is {licence}): continuous "
                "aggregates are missing from it. Install the Community edition, or set TIMESCALE_EDITION=postgresql."
            )
    return "timescaledb"


def set_defaults(connection: Connection, edition: Edition) -> None:
    """Set what every session of this database needs with TimescaleDB; a dump of the database does not have it."""
    if edition == "postgresql":
        return
    name = _one(connection, "select pg_catalog.quote_ident(current_database())")
    for setting, value in _DEFAULTS.items():
        # Not every version has every one of them.
        if _one(connection, "select exists (select from pg_catalog.pg_settings where name = %s)", setting):
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


def _one(connection: Connection, query: str, *values: str) -> object:
    row = connection.execute(query.encode(), values or None).fetchone()
    return None if row is None else row[0]
