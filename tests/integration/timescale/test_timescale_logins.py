"""The logins of the services, created by an owner without superuser rights, each with its rights and limits."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from fix_database import point_to

from core.errors import SettingError
from timescale import logins
from timescale.migrate import migrate

OWNER = "harbour-9-lantern"
PASSWORDS = {login.setting: f"{login.name[::-1]}-4711-wire" for login in logins.LOGINS}


@pytest.fixture
def owned(fresh_database, monkeypatch):
    """A database as in docker compose: its owner migrates and can only create roles and databases."""
    name = fresh_database.environment["PGDATABASE"]
    with fresh_database.connect() as connection:
        if fresh_database.edition == "timescaledb":  # as the official image does
            connection.execute("create extension if not exists timescaledb")
        connection.execute(f"create role owner_{name} login createrole createdb password '{OWNER}'".encode())
        connection.execute(f"alter database {name} owner to owner_{name}".encode())
        # The groups exist from the template: this owner gets the rights of their creator.
        groups = ", ".join({role for login in logins.LOGINS for role in login.roles})
        connection.execute(f"grant {groups} to owner_{name} with admin option".encode())
    owned = replace(
        fresh_database, environment={**fresh_database.environment, "PGUSER": f"owner_{name}", "PGPASSWORD": OWNER}
    )
    point_to(monkeypatch, owned.environment)
    migrate()
    yield owned
    point_to(monkeypatch, fresh_database.environment)
    with fresh_database.connect() as connection:
        connection.execute("drop database if exists airflow with (force)")
        connection.execute(f"alter database {name} owner to postgres".encode())
        # The groups are shared with other databases: only grants of this owner are revoked.
        connection.execute(f"reassign owned by owner_{name} to postgres".encode())
        for login in logins.LOGINS:
            connection.execute(f"drop role if exists {login.name}".encode())
        connection.execute(f"drop owned by owner_{name} cascade".encode())
        connection.execute(f"drop role owner_{name}".encode())


def connect(owned, name: str, password: str, database: str | None = None) -> psycopg.Connection:
    """Connect over TCP as a service does."""
    environment = owned.environment
    return psycopg.connect(
        host=environment["PGHOST"], port=environment["PGPORT"], dbname=database or environment["PGDATABASE"],
        user=name, password=password, autocommit=True,
    )  # fmt: skip


def test_each_login_has_its_rights_and_limits(owned):
    """A login has its roles and limits, and can neither be superuser nor create roles or databases."""
    logins.create(PASSWORDS)
    for login in logins.LOGINS:
        with connect(owned, login.name, PASSWORDS[login.setting], login.database) as connection:
            properties = connection.execute(
                "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls, rolconnlimit,"
                " extract(epoch from current_setting('statement_timeout')::interval) > 0,"
                " extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval) > 0,"
                " array(select r.rolname::text from pg_auth_members m join pg_roles r on r.oid = m.roleid"
                "       where m.member = me.oid order by 1),"
                " array(select datname::text from pg_database where datdba = me.oid)"
                " from pg_roles me where rolname = current_user"
            ).fetchone()
        owns = [login.database] if login.database else []
        assert properties == (False, login.connections, True, True, sorted(login.roles), owns)


def test_a_service_reads_only_its_tables(owned):
    """The collector's login can read its tables and no table of another service."""
    logins.create(PASSWORDS)
    with connect(owned, "collector", PASSWORDS["PG_COLLECTOR_PASSWORD"]) as connection:
        connection.execute("select * from telemetry.sensor")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from quality.check_result")


def test_a_second_run_changes_only_passwords(owned):
    """A second run changes nothing except passwords: the new one works, the old one no longer."""
    first = logins.create(PASSWORDS)
    changed = {**PASSWORDS, "PG_GRAFANA_PASSWORD": "another-8-lantern"}
    assert logins.create(changed) == first
    connect(owned, "grafana", "another-8-lantern").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(owned, "grafana", PASSWORDS["PG_GRAFANA_PASSWORD"])


def test_a_login_of_an_earlier_version_loses_roles(owned, fresh_database):
    """A login that is a member of a role it does not need any more leaves it, and no role of one's own."""
    logins.create(PASSWORDS)
    with owned.connect() as connection:
        connection.execute("create role of_this_test")
        connection.execute("grant of_this_test to exporter")
    with fresh_database.connect() as connection:
        name = owned.environment["PGUSER"]
        connection.execute(f"grant data_scientist to {name} with admin option".encode())
    with owned.connect() as connection:
        connection.execute("grant data_scientist to exporter")
    logins.create(PASSWORDS)
    with owned.connect() as connection:
        roles = connection.execute(
            "select roleid::regrole::text from pg_auth_members where member = 'exporter'::regrole order by 1"
        ).fetchall()
        connection.execute("drop role of_this_test")
    assert roles == [("monitoring",), ("of_this_test",)]


def test_future_functions_are_not_for_everyone(owned, fresh_database):
    """A function that the owner of docker compose creates later is not executable by PUBLIC."""
    with owned.connect() as connection:
        connection.execute("create function telemetry.later() returns integer language sql return 1")
        (allowed,) = connection.execute(
            "select has_function_privilege('bi_reader', 'telemetry.later()', 'execute')"
        ).fetchone()
    assert not allowed


def test_the_server_never_sees_a_password(owned, fresh_database):
    """The server gets SCRAM verifiers only, so neither logs nor statements contain a password."""
    logins.create(PASSWORDS)
    with psycopg.connect(**{**psycopg.conninfo.conninfo_to_dict(""), **parameters(owned)}) as connection:
        assert connection.execute("select current_user").fetchone()[0].startswith("owner_")
    with psycopg.connect(**parameters(fresh_database)) as connection:
        (stored,) = connection.execute("select rolpassword from pg_authid where rolname = 'collector'").fetchone()
    assert stored.startswith("SCRAM-SHA-256$")


def parameters(database) -> dict[str, str]:
    """Return libpq's parameters of a database."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    return {keyword: database.environment[name] for name, keyword in names.items()}


def test_missing_and_example_passwords_are_refused():
    """Every login with an empty, example or weak password is reported before connecting."""
    with pytest.raises(SettingError) as raised:
        logins.create(
            {"PG_DBT_PASSWORD": "", "PG_GRAFANA_PASSWORD": "changeme-please", "PG_ACCESS_PASSWORD": "ab" * 15}
        )
    message = str(raised.value)
    assert "PG_DBT_PASSWORD: is empty; run `make secrets`" in message
    assert "PG_GRAFANA_PASSWORD: is an example" in message
    assert "PG_ACCESS_PASSWORD: is too short or too simple" in message
    assert "changeme" not in message


def test_the_command_reports_missing_passwords(tmp_path):
    """Without any password the command names the variables and ends with status 2."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    result = subprocess.run(
        [Path(sys.executable).parent / "timescale", "logins"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "PG_COLLECTOR_PASSWORD" in result.stderr
    assert "make secrets" in result.stderr
