"""Privileges of the group roles, compared with the table in docs/security.md."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from fix_database import Database, point_to
from fix_marts import Marts

from quality.scan import scan
from timescale.migrate import migrate
from timescale.sql_files import HERE

DOCUMENT = Path(__file__).parents[3] / "docs" / "security.md"
ROLES = [
    "collector_writer", "transformer", "quality_scanner", "bi_reader", "data_scientist", "access_api", "monitoring",
]  # fmt: skip
LETTERS = {
    "select": "s",
    "insert": "i",
    "update": "u",
    "delete": "d",
    "truncate": "t",
    "references": "r",
    "trigger": "g",
}
GRANTED = """
    select
        n.nspname || '.' || c.relname, r.rolname, v.verb, has_table_privilege(r.rolname, c.oid, v.verb) as on_all,
        array(
            select a.attname::text from pg_catalog.pg_attribute as a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            and v.verb in ('select', 'insert', 'update', 'references')
            and has_column_privilege(r.rolname, c.oid, a.attnum, v.verb)
        ) as column_names
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
    cross join unnest(%s::text[]) as r (rolname)
    cross join unnest(%s::text[]) as v (verb)
    where n.nspname in ('telemetry', 'quality') and c.relkind in ('r', 'v', 'p', 'm')
    and has_schema_privilege(r.rolname, n.oid, 'usage')
"""
FUNCTIONS = """
    select 'telemetry.' || p.proname, array_agg(r.rolname order by r.rolname)
    from pg_catalog.pg_proc as p
    cross join unnest(%s::text[]) as r (rolname)
    where p.pronamespace in ('telemetry'::regnamespace, 'quality'::regnamespace)
    and has_function_privilege(r.rolname, p.oid, 'execute')
    group by 1
"""


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table in the document whose first column has this heading."""
    _, table = DOCUMENT.read_text().split(f"\n| {heading} |")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()][2:]


def test_privileges_on_columns_match_the_document(database):
    """Where a role has a privilege on some columns of a table only, these are the documented ones."""
    with database.connect() as connection:
        all_columns: dict[str, set[str]] = {}
        for name, column in connection.execute(
            "select table_schema || '.' || table_name, column_name from information_schema.columns "
            "where table_schema in ('telemetry', 'quality')"
        ):
            all_columns.setdefault(name, set()).add(column)
        granted = {
            (name, role, verb): set(columns)
            for name, role, verb, on_all, columns in connection.execute(GRANTED, (ROLES, list(LETTERS)))
            if columns and not on_all
        }
    expected = {}
    for name, role, verb, columns in rows_of("Columns of"):
        key, listed = name.strip("`"), set(re.findall(r"`(\w+)`", columns))
        expected[key, role.strip("`"), verb] = all_columns[key] - listed if columns.startswith("all but") else listed
    assert granted == expected


def test_privileges_on_functions_match_the_document(database):
    """A role may execute exactly the functions that the document lists."""
    with database.connect() as connection:
        granted = dict(connection.execute(FUNCTIONS, (ROLES,)).fetchall())
    assert granted == {name.strip("`"): sorted(re.findall(r"`(\w+)`", roles)) for name, roles in rows_of("Function")}


def documented() -> dict[str, dict[str, str]]:
    """Return the table of the document: object → role → letters of the privileges."""
    _, table = DOCUMENT.read_text().split("\n| Object |")
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()
    ]
    assert header == [f"`{role}`" for role in ROLES]
    return {
        name: dict(zip(ROLES, row[1:], strict=True)) for row in rows for name in re.findall(r"`(\w+\.\w+)`", row[0])
    }


def test_privileges_match_the_document(database):
    """The database grants exactly the privileges in the table of docs/security.md."""
    with database.connect() as connection:
        names = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema in ('telemetry', 'quality')"
        ).fetchall()
        granted = {name: dict.fromkeys(ROLES, "") for (name,) in names}
        for verb, letter in LETTERS.items():
            for name, role, _, on_all, columns in connection.execute(GRANTED, (ROLES, [verb])).fetchall():
                granted[name][role] += letter if on_all else f"{letter}*" if columns else ""
    expected = documented()
    only_postgresql = {f"telemetry.rollup_{level}" for level in ("1m", "1h", "1d")}
    if database.edition == "timescaledb":
        expected = {name: row for name, row in expected.items() if name not in only_postgresql}
    assert granted == expected


def test_roles_cannot_log_in_or_administer(database):
    """The roles are groups: none can log in, create roles or databases, or bypass row security."""
    with database.connect() as connection:
        rows = connection.execute(
            "select rolname from pg_catalog.pg_roles where rolname = any(%s) "
            "and not (rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication)",
            (ROLES,),
        ).fetchall()
    assert sorted(name for (name,) in rows) == sorted(ROLES)


def test_public_has_no_privileges(database):
    """Logins without a group can read nothing."""
    with database.connect() as connection:
        assert (
            connection.execute(
                "select nspname from pg_catalog.pg_namespace as n, lateral aclexplode(nspacl) as a "
                "where a.grantee = 0 and nspname in ('telemetry', 'quality', 'marts', 'staging', 'intermediate')"
            ).fetchall()
            == []
        )


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_without_the_right_to_create_roles(fresh_database, monkeypatch):
    """An owner without CREATEROLE can migrate, and the warning names the missing roles and the fix."""
    definition = (HERE / "sql" / "definitions" / "99_roles.sql").read_text()
    with fresh_database.connect() as connection:
        connection.execute("create role landlord login password 'of a test'")
        connection.execute(f"alter database {fresh_database.environment['PGDATABASE']} owner to landlord".encode())
    owner = replace(
        fresh_database, environment={**fresh_database.environment, "PGUSER": "landlord", "PGPASSWORD": "of a test"}
    )
    point_to(monkeypatch, owner.environment)
    assert migrate().warnings == ()
    with owner.connect() as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_hint)))
        connection.execute(definition.replace("'access_api'", "'access_api', 'missing_role'").encode())
    ((missing, fix),) = notices
    assert "roles of docs/security.md are missing: landlord may not create them" in missing
    assert "CREATEROLE" in fix
    with fresh_database.connect() as connection:
        connection.execute(f"alter database {fresh_database.environment['PGDATABASE']} owner to postgres".encode())
        connection.execute("drop owned by landlord cascade")
        connection.execute("drop role landlord")


class Logins:
    """Creates logins that are members of one group each, and removes them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._created: list[str] = []

    def create(self, role: str) -> dict[str, str]:
        """Create a login; return libpq's variables for it."""
        name = f"{role}_{self._database.environment['PGDATABASE']}"
        with self._database.connect() as connection:
            connection.execute(f"create role {name} login password 'of a test' in role {role}".encode())
        self._created.append(name)
        return {**self._database.environment, "PGUSER": name, "PGPASSWORD": "of a test"}

    def close(self) -> None:
        """Remove them and their objects."""
        with self._database.connect() as connection:
            for name in self._created:
                connection.execute(f"drop owned by {name} cascade".encode())
                connection.execute(f"drop role {name}".encode())


@pytest.fixture
def login(database: Database) -> Iterator[Callable[[str], dict[str, str]]]:
    """Return a function that creates a login in one group and returns libpq's variables for it."""
    logins = Logins(database)
    yield logins.create
    logins.close()


def parameters(environment: dict[str, str]) -> dict[str, str]:
    """Return libpq's parameters for its variables."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {keyword: environment[name] for name, keyword in names.items()}


BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def test_privileges_of_a_collector_suffice(database, collectors, login, tmp_path):
    """A member of collector_writer can store readings, duplicates, conflicts, late ones and quarantine, and replay."""
    environment = login("collector_writer")

    def collect(*arguments: str, status: int) -> None:
        collector = collectors.start(environment, *arguments, subscribed=False)
        assert collector.process.wait(60) == status, collector.lines

    messages = tmp_path / "messages.ndjson"
    for values in ([1, 2, 3], [1, 2, 4]):
        lines = [
            {"device_id": "t0", "timestamp": (BEGIN + timedelta(minutes=n)).isoformat(), "temperature": value}
            for n, value in enumerate(values)
        ]
        unknown = {"device_id": "t0", "timestamp": BEGIN.isoformat(), "pressure": values[-1]}
        messages.write_text("".join(json.dumps(line) + "\n" for line in [*lines, unknown]))
        collect("load", str(messages), status=2)  # some lines are in quarantine
    collect("quarantine", "replay", status=0)
    with database.connect() as connection:
        stored, duplicate, balanced = connection.execute(
            "select stored, duplicate, balanced from telemetry.accounting"
        ).fetchone()
        reasons = connection.execute("select reason, count(*) from telemetry.quarantine group by 1 order by 1")
        assert (stored, duplicate, balanced) == (3, 2, True)
        assert dict(reasons.fetchall()) == {"conflicting_value": 1, "unknown_quantity": 2}
        database.refresh()
        assert connection.execute("select sum(sample_count) from telemetry.reading_1d").fetchone() == (3,)


def test_a_collector_cannot_change_readings(database, login):
    """A member of collector_writer can't change or delete readings, means or the retention."""
    with database.connect() as connection:
        connection.execute("update telemetry.retention set keep_days = 30")
    with psycopg.connect(**parameters(login("collector_writer")), autocommit=True) as connection:
        for statement in (
            "update telemetry.reading set value = 0",
            "delete from telemetry.reading",
            "delete from telemetry.quarantine",
            "update telemetry.retention set keep_days = 2",
            "call telemetry.apply_retention()",
            "create table telemetry.mine (a integer)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_marts_are_built_and_read(marts, project, monkeypatch):
    """All readers can read marts built by a transformer, but not the models below them; a scanner can scan them."""
    logins = Logins(marts.database)
    point_to(monkeypatch, marts.database.environment)
    migrate()  # grants on the database itself are not copied with a template
    try:
        builder = replace(marts.database, environment=logins.create("transformer"))
        Marts(builder, project).run("+dim_sensor", "+dim_quantity", "+fct_reading_minute")
        with psycopg.connect(**parameters(builder.environment), autocommit=True) as connection:
            connection.execute("create table marts.of_an_analyst as select 1 as one")
        readers = {
            role: logins.create(role) for role in ("bi_reader", "data_scientist", "access_api", "quality_scanner")
        }
        for environment in readers.values():
            with psycopg.connect(**parameters(environment), autocommit=True) as connection:
                for table in ("dim_sensor", "fct_reading_minute", "of_an_analyst"):
                    connection.execute(f"select * from marts.{table}".encode())
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute("select * from intermediate.int_series_history")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute("drop table marts.dim_sensor")
        point_to(monkeypatch, readers["quality_scanner"])
        assert scan(["dim_sensor", "fct_reading_minute"]).outcome != "error"
    finally:
        logins.close()
