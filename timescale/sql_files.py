"""Runs the SQL files: migrations run once, definitions run every time; each may have a part per edition."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from alembic import context

from core.database import Connection
from core.errors import DatabaseError
from local_services.postgres_binaries import Edition

HERE = Path(__file__).parent
VERSION_SCHEMA = "telemetry"
VERSION_TABLE = "revision"


def migration(name: str) -> Callable[[], None]:
    """Return the ``upgrade`` function that runs ``name``.sql and its part for the database's edition."""

    def upgrade() -> None:
        attributes = context.config.attributes
        for path in _parts(HERE / "sql" / "migrations", name, attributes["edition"]):
            run(attributes["driver_connection"], path)

    return upgrade


def define(connection: Connection, edition: Edition) -> None:
    """Run all definitions in the order of their names."""
    folder = HERE / "sql" / "definitions"
    for name in sorted({path.name.split(".")[0] for path in folder.glob("*.sql")}):
        for path in _parts(folder, name, edition):
            run(connection, path)


def run(connection: Connection, path: Path) -> None:
    """Run one SQL file, all its statements at once; an error names the file."""
    try:
        # As bytes and without parameters: percent signs are not placeholders, and several statements are allowed.
        connection.execute(path.read_bytes())
    except psycopg.Error as error:
        raise DatabaseError(f"{path.relative_to(HERE.parent)}: {str(error).strip()}") from error


def _parts(folder: Path, name: str, edition: Edition) -> Iterator[Path]:
    for path in (folder / f"{name}.sql", folder / f"{name}.{edition}.sql"):
        if path.exists():
            yield path
