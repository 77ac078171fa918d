"""The database logins of the services: one per service, with its roles and limits.

docs/security.md has the roles. Passwords come from the environment, ``PG_<LOGIN>_PASSWORD``, and are sent to the server
only as SCRAM verifiers, so that no log contains them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from core.database import Connection, connect, wrapped_errors
from core.settings import Mistakes
from timescale.weak_secrets import weakness


@dataclass(frozen=True)
class Login:
    """A login: its name, its group roles, and its limits on connections and on the time of statements."""

    name: str
    roles: tuple[str, ...]
    connections: int
    statement_timeout: str
    idle_in_transaction: str
    database: str | None = None
    """A separate database that it owns, for data that is not part of the warehouse."""

    @property
    def setting(self) -> str:
        """Name of the variable with its password."""
        return f"PG_{self.name.upper()}_PASSWORD"


LOGINS = (
    # Timeouts end stuck statements only: a replay of the whole quarantine or a build of years takes long.
    Login("collector", ("collector_writer",), 30, "30min", "5min"),
    Login("dbt", ("transformer",), 10, "2h", "30min"),
    Login("quality", ("quality_scanner",), 10, "10min", "10min"),
    Login("access", ("access_api",), 20, "1min", "1min"),
    Login("grafana", ("bi_reader", "monitoring"), 10, "1min", "1min"),
    Login("exporter", ("monitoring",), 3, "30s", "30s"),
    Login("airflow", (), 60, "5min", "10min", database="airflow"),
)


ROLES = frozenset(role for login in LOGINS for role in login.roles) | {"data_scientist"}
"""The group roles of ``timescale migrate``."""

# A login of an earlier version may be a member of roles that it does not need any more.
_OTHER_ROLES = """
    select role.rolname
    from pg_catalog.pg_auth_members as membership
    inner join pg_catalog.pg_roles as role on membership.roleid = role.oid
    inner join pg_catalog.pg_roles as member on membership.member = member.oid
    where member.rolname = %s and role.rolname = any(%s) and not role.rolname = any(%s)
"""


def create(environment: Mapping[str, str]) -> list[str]:
    """Create or update the logins whose passwords are in ``environment``; return one line per login.

    A login whose variable is not set does not change. Raises :class:`SettingError` before connecting if a password is
    empty, an example or guessable, and :class:`DatabaseError` if the server refuses.
    """
    passwords = {login: environment[login.setting] for login in LOGINS if login.setting in environment}
    mistakes = Mistakes()
    for login, password in passwords.items():
        if reason := weakness(password, login.name):
            mistakes.add(f"{login.setting}: {reason}")
    mistakes.check()
    if not passwords:
        return []
    with connect(application_name="timescale-logins") as connection, wrapped_errors("logins"):
        return [
            f"login {login.name}: {', '.join(_create(connection, login, password))}"
            for login, password in passwords.items()
        ]


def _create(connection: Connection, login: Login, password: str) -> Iterator[str]:
    """Create or update one login with repeatable statements; yield its properties."""
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
            ("lock_timeout", "30s"),
        ):
            connection.execute(sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), value))
        for (role,) in connection.execute(_OTHER_ROLES, (login.name, list(ROLES), list(login.roles))).fetchall():
            connection.execute(sql.SQL("revoke {} from {}").format(sql.Identifier(role), name))
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
        # Creating a database for another role requires membership in it. template0 is without TimescaleDB, which the
        # official image installs in template1, and whose scheduler would run in this database too.
        connection.execute(sql.SQL("grant {} to current_user").format(name))
        database = sql.Identifier(login.database)
        connection.execute(sql.SQL("create database {} owner {} template template0").format(database, name))
        connection.execute(sql.SQL("revoke connect on database {} from public").format(database))
        connection.execute(sql.SQL("revoke {} from current_user").format(name))
    if login.database:
        yield f"owner of the database {login.database}"
