"""A login with few privileges can neither change numbers nor read payloads, whichever way it tries."""

import psycopg
import pytest
from test_timescale_roles import login, parameters  # noqa: F401 - a fixture

from timescale.migrate import migrate

OPEN_TO_PUBLIC = """
    select 'function ' || p.oid::regprocedure
    from pg_catalog.pg_proc as p
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
    where p.pronamespace = any(%(schemas)s::regnamespace[]) and a.grantee = 0
    union all
    select 'table ' || c.oid::regclass
    from pg_catalog.pg_class as c
    cross join lateral aclexplode(c.relacl) as a
    where c.relnamespace = any(%(schemas)s::regnamespace[]) and a.grantee = 0
    union all
    select 'column ' || c.oid::regclass || '.' || attribute.attname
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as attribute on attribute.attrelid = c.oid
    cross join lateral aclexplode(attribute.attacl) as a
    where c.relnamespace = any(%(schemas)s::regnamespace[]) and a.grantee = 0
    union all
    select 'schema ' || n.nspname
    from pg_catalog.pg_namespace as n
    cross join lateral aclexplode(n.nspacl) as a
    where (n.oid = any(%(schemas)s::regnamespace[]) or a.privilege_type = 'CREATE') and a.grantee = 0
    union all
    select 'database, ' || a.privilege_type
    from pg_catalog.pg_database as d
    cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as a
    where d.datname = current_database() and a.grantee = 0 and a.privilege_type <> 'CONNECT'
"""


def schemas(database) -> list[str]:
    """Return the schemas that a migration creates."""
    return ["telemetry", "quality", *(["telemetry_parts"] if database.edition == "postgresql" else [])]


def test_public_has_no_privilege(database):
    """Nothing of ours is granted to PUBLIC: no function, table, column or schema, no temporary tables."""
    migrate()  # privileges of the database are not copied with a template
    with database.connect() as connection:
        rows = connection.execute(OPEN_TO_PUBLIC, {"schemas": schemas(database)}).fetchall()
    assert rows == []


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("function", "event"), [("roll_up", "insert"), ("roll_up_replaced", "update")])
def test_a_trigger_on_another_table_is_refused(database, login, function, event):  # noqa: F811
    """The functions that keep the means work for telemetry.reading only, even if a login may execute them."""
    with database.connect() as connection:
        connection.execute("insert into telemetry.reading values ('2026-03-01 12:00+00', 1, 20, now())")
        connection.execute("grant execute on all functions in schema telemetry to public")
    trigger = (
        "create temporary table own (time timestamptz, series_id integer, value double precision);"
        f"create trigger own after {event} on own referencing new table as new_rows for each statement "
        f"execute function telemetry.{function}();"
        "insert into own values ('2026-03-01 12:00:01+00', 1, 2000); update own set value = 3000"
    )
    environment = login("bi_reader")
    with psycopg.connect(**parameters(environment), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"telemetry\.reading only"):
            connection.execute(trigger.encode())
        assert connection.execute("select mean from telemetry.reading_1d").fetchone() == (20,)


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_a_reader_cannot_use_the_functions_that_keep_the_means(database, login):  # noqa: F811
    """A bi_reader may not make a trigger of telemetry.roll_up, and after a migration no temporary table."""
    environment = login("bi_reader")
    with psycopg.connect(**parameters(environment), autocommit=True) as connection:
        connection.execute("create temporary table own (time timestamptz, series_id integer, value double precision)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "create trigger own after insert on own referencing new table as new_rows for each statement "
                "execute function telemetry.roll_up()"
            )
        migrate()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create temporary table other (a integer)")


def test_a_migration_takes_back_what_earlier_versions_granted(database):
    """Privileges that are not listed any more are revoked by the next migration, also those of columns."""
    with database.connect() as connection:
        connection.execute("grant update on telemetry.quarantine, telemetry.intake to collector_writer")
        connection.execute("grant update (payload) on telemetry.quarantine to bi_reader")
        connection.execute("grant execute on function telemetry.purge_quarantine to public, data_scientist")
    migrate()
    with database.connect() as connection:
        ((table, column, function, public),) = connection.execute(
            "select has_table_privilege('collector_writer', 'telemetry.intake', 'update'), "
            "has_column_privilege('bi_reader', 'telemetry.quarantine', 'payload', 'update'), "
            "has_function_privilege('data_scientist', 'telemetry.purge_quarantine(interval)', 'execute'), "
            "has_function_privilege('bi_reader', 'telemetry.purge_quarantine(interval)', 'execute')"
        ).fetchall()
    assert (table, column, function, public) == (False, False, False, False)


def test_monitoring_reads_no_payload(database, login):  # noqa: F811
    """Grafana's and the exporter's role counts quarantine rows and can read neither payloads nor raw readings."""
    with psycopg.connect(**parameters(login("monitoring")), autocommit=True) as connection:
        connection.execute("select reason, topic, count(*) from telemetry.quarantine group by 1, 2")
        for statement in (
            "select payload from telemetry.quarantine",
            "select detail from telemetry.quarantine",  # quotes parts of payloads
            "select * from telemetry.quarantine",
            "select payload from telemetry.birth",
            "select value from telemetry.reading",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_a_collector_cannot_rewrite_what_was_quarantined(database, login):  # noqa: F811
    """A collector adds to accounts and settles quarantine rows; it can't change payloads, reasons or keys."""
    with psycopg.connect(**parameters(login("collector_writer")), autocommit=True) as connection:
        connection.execute("update telemetry.quarantine set replayed_at = now(), readings = readings + 1")
        connection.execute("update telemetry.intake set messages = messages + 1, decoded = decoded + 1")
        for statement in (
            "update telemetry.quarantine set payload = ''",
            "update telemetry.quarantine set reason = 'x'",
            "update telemetry.quarantine set topic = 'x'",
            "update telemetry.intake set bucket = now()",
            "update telemetry.intake set source = 'x'",
            "update telemetry.sensor set sensor_id = 'x'",
            "update telemetry.series set sensor_id = 'x'",
            "update telemetry.late_hour set bucket = now()",
            "update telemetry.archived set hour = now()",
            "update telemetry.superseded set value = 1",
            "update telemetry.ignored set reason = 'x'",
            "update telemetry.birth set topic = 'x'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
