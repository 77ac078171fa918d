"""The logins of the product's own services: one each, a member of the roles it needs, with limits of its own.

docs/security.md has the roles. Passwords come from the environment, ``PG_<LOGIN>_PASSWORD``, and reach the server as
SCRAM verifiers only, so that they stand in no log.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from core.database import Connection, connect, wrapped
from core.errors import SettingError
from timescale.weak_secrets import weakness


@dataclass(frozen=True)
class Login:
    """A login: its name, the group roles it is a member of, and what one of its sessions, and all of them, may take."""

    name: str
    roles: tuple[str, ...]
    connections: int
    statement_timeout: str
    idle_in_transaction: str
    database: str | None = None
    """A database of its own, which it owns and where it keeps what is no business of the warehouse's."""

    @property
    def setting(self) -> str:
        """The variable with its password."""
        return f"PG_{self.name.upper()}_PASSWORD"


LOGINS = (
    # Timeouts are for what has gone wrong: a replay of the whole quarantine, a build of years take their time.
    Login("collector", ("collector_writer",), 30, "30min", "5min"),
    Login("dbt", ("transformer",), 10, "2h", "30min"),
    Login("quality", ("quality_scanner",), 10, "10min", "10min"),
    Login("access", ("access_api",), 20, "1min", "1min"),
    Login("grafana", ("data_scientist",), 10, "1min", "1min"),
    Login("exporter", ("data_scientist",), 3, "30s", "30s"),
    Login("airflow", (), 60, "5min", "10min", database="airflow"),
)


def make(environment: Mapping[str, str]) -> list[str]:
    """Make the logins whose password ``environment`` has, or bring them up to date; return what was done, as lines.

    A login whose variable is not set is left alone. Raises :class:`SettingError` before it connects where a password is
    missing (its variable is empty) or an example, and :class:`DatabaseError` where the server refuses.
    """
    told = {login: environment[login.setting] for login in LOGINS if login.setting in environment}
    if wrong := [f"  {login.setting}: {why}" for login, value in told.items() if (why := weakness(value, login.name))]:
        raise SettingError("\n".join(["wrong settings", *wrong]))
    if not told:
        return []
    with connect(application_name="timescale-logins") as connection, wrapped("logins"):
        return [f"login {login.name}: {', '.join(_bring(connection, login, told[login]))}" for login in told]


def _bring(connection: Connection, login: Login, password: str) -> Iterator[str]:
    """Make or change one login, each statement harmless when it is repeated; yield what it is now."""
    name = sql.Identifier(login.name)
    with connection.transaction():
        if not connection.execute("select 1 from pg_catalog.pg_roles where rolname = %s", (login.name,)).fetchone():
            connection.execute(sql.SQL("create role {}").format(name))
        verifier = connection.pgconn.encrypt_password(password.encode(), login.name.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("alter role {} login password {} connection limit {}").format(
                name, verifier.decode(), login.connections
            )
        )
        for setting, value in (
            ("statement_timeout", login.statement_timeout),
            ("idle_in_transaction_session_timeout", login.idle_in_transaction),
        ):
            connection.execute(sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), value))
        for role in login.roles:
            connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), name))
            yield f"member of {role}"
    yield f"at most {login.connections} connections"
    if (
        login.database
        and not connection.execute(
            "select 1 from pg_catalog.pg_database where datname = %s", (login.database,)
        ).fetchone()
    ):
        # Who makes a database for another must be a member of that role. template0: without TimescaleDB, which the
        # official image puts into template1, and whose scheduler would run here too.
        connection.execute(sql.SQL("grant {} to current_user").format(name))
        database = sql.Identifier(login.database)
        connection.execute(sql.SQL("create database {} owner {} template template0").format(database, name))
        connection.execute(sql.SQL("revoke connect on database {} from public").format(database))
        connection.execute(sql.SQL("revoke {} from current_user").format(name))
    if login.database:
        yield f"owner of the database {login.database}"
