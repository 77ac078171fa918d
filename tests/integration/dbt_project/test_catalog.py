"""The catalog is complete and correct: all columns have descriptions, all queries run, all links have targets."""

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fix_collector import until
from fix_http import Access, login, validate
from fix_marts import PROJECT, Marts

from collector.registry.sensors_file import load
from collector.registry.sync import synchronise
from local_services.broker import LocalBroker

ROOT = PROJECT.parent
RESOURCES = ("model", "snapshot", "source")

READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select
    time,
    series_id,
    case
        when quantity <> 'voltage' then (minimum + maximum) / 2 + 5 * sin(extract(epoch from time) / 13751)
        when extract(minute from time) between 20 and 39 then 16
        else 12
    end + sin(extract(epoch from time)) / 10,
    time
from telemetry.series
cross join generate_series(%s::timestamptz, %s, make_interval(secs => greatest(%s, interval_seconds))) as time
on conflict do nothing
"""
INTAKE = """
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
select date_trunc('hour', now()) - interval '1 hour', 'mqtt', 'test', 5, 5, 5, 5
"""


@pytest.fixture(scope="module")
def built(marts: Marts) -> Marts:
    """Two days of the sensors that the product comes with, and everything built from them."""
    with marts.connect() as connection:
        synchronise(connection, load(ROOT / "sensors.json"))
        # At the interval of the registry in the last hour, which finds whole intervals; once per minute before that.
        now = datetime.now(tz=UTC)
        connection.execute(READINGS, (now - timedelta(hours=1), now, 1))
        connection.execute(READINGS, (now.replace(second=0) - timedelta(days=2), now - timedelta(hours=1), 60))
        connection.execute(INTAKE)
    marts.database.refresh()
    # The results of unit tests do not depend on the edition.
    marts.dbt("build", *(["--exclude-resource-types", "unit_test"] if marts.edition == "postgresql" else []))
    return marts


@pytest.fixture(scope="module")
def described(project: Any) -> dict[str, Any]:
    """Models, snapshots, sources and exposures in dbt's manifest, by unique id."""
    manifest = project.manifest
    nodes = {**manifest.nodes, **manifest.sources, **manifest.exposures}
    return {name: node for name, node in nodes.items() if node.package_name == "sensor_warehouse"}


def relations(described: dict[str, Any]) -> Iterator[Any]:
    """Yield models, snapshots and sources."""
    yield from (node for node in described.values() if node.resource_type in RESOURCES)


def marts_of(described: dict[str, Any]) -> list[Any]:
    """Return the models of the schema marts."""
    return [node for node in relations(described) if node.schema == "marts"]


def sql_blocks(text: str) -> list[str]:
    """Return the SQL examples of a page of documentation."""
    return re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)


def overview(project: Any) -> str:
    """Return the front page."""
    return str(project.manifest.docs["doc.sensor_warehouse.__overview__"].block_contents)


def test_everything_is_described(described):
    """Every model, snapshot, source and exposure has a description, and so has each of its columns."""
    undescribed = [
        name
        for name, node in described.items()
        if node.resource_type in (*RESOURCES, "exposure") and not node.description.strip()
    ]
    undescribed += [
        f"{node.unique_id}.{column.name}"
        for node in relations(described)
        for column in node.columns.values()
        if not column.description.strip()
    ]
    assert undescribed == []


def test_the_columns_described_are_those_of_the_database(built, described):
    """Tables and views have exactly the described columns; ephemeral models and the MQTT source do not exist."""
    columns_of: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in built.rows("""
        select relation.relnamespace::regnamespace::text, relation.relname, attribute.attname
        from pg_class as relation inner join pg_attribute as attribute on relation.oid = attribute.attrelid
        where attribute.attnum > 0 and not attribute.attisdropped
            and relation.relnamespace::regnamespace::text = any(array[
                'staging', 'intermediate', 'marts', 'snapshots', 'telemetry', 'quality'
            ]) and relation.relkind in ('r', 'v', 'm', 'p')
    """):
        columns_of.setdefault((schema, table), set()).add(column)
    for node in relations(described):
        if node.config.get("materialized") == "ephemeral":
            assert (node.schema, node.alias) not in columns_of, node.name
        elif node.resource_type != "source":
            assert columns_of[node.schema, node.alias] == set(node.columns), node.name
        elif node.source_name != "mqtt":
            assert columns_of[node.schema, node.identifier] == set(node.columns), node.name


def test_comments_in_the_database_are_the_catalogs(built):
    """Any SQL client shows a description for every mart and each of its columns."""
    uncommented = built.rows("""
        select relation.relname, attribute.attname
        from pg_class as relation
        inner join pg_attribute as attribute on relation.oid = attribute.attrelid
        where
            relation.relnamespace = 'marts'::regnamespace and relation.relkind in ('r', 'v')
            and attribute.attnum > 0 and not attribute.attisdropped
            and (
                col_description(relation.oid, attribute.attnum) is null
                or obj_description(relation.oid, 'pg_class') is null
            )
    """)
    assert uncommented == []


def test_every_mart_has_a_contract_an_owner_and_a_key(described):
    """A mart has an owner, an enforced contract, and a test of its key."""
    tested = {
        node.attached_node
        for node in described.values()
        if getattr(node, "test_metadata", None) and node.test_metadata.name in ("unique_combination", "unique")
    }
    for node in marts_of(described):
        assert node.meta.get("owner") in ("platform", "analytics"), node.name
        assert node.config.contract.enforced, node.name
        assert node.unique_id in tested, node.name


def test_owners_are_named_on_the_front_page(project, described):
    """All owners are on the front page."""
    owners = {node.owner.name for node in described.values() if node.resource_type == "exposure"}
    owners |= {node.meta.get("owner", "missing") for node in marts_of(described)}
    owners |= {node.source_meta["owner"] for node in described.values() if node.resource_type == "source"}
    assert {owner for owner in owners if f"**{owner}**" not in overview(project)} == set()


def test_every_mart_has_a_sample_query_with_results(built, described):
    """The sample query of each mart reads that mart, runs unchanged, and returns rows on normal data."""
    without_rows = []
    for node in marts_of(described):
        query = node.meta.get("sample_query", "")
        assert f"marts.{node.name}" in query, node.name
        if not built.rows(query):
            without_rows.append(node.name)
    # Two days of normal data have no anomaly, a machine may have been idle, and no sensor has moved.
    assert set(without_rows) <= {"fct_anomaly", "fct_load_cycle", "dim_sensor_history"}


@pytest.mark.parametrize("page", ["README.md", "docs/sql.md", "docs/marts.md", "docs/quality.md", "the front page"])
def test_queries_on_pages_run(built, project, page):
    """The examples of a page run unchanged; changes are rolled back."""
    blocks = sql_blocks(overview(project) if page == "the front page" else (ROOT / page).read_text())
    assert blocks
    for block in blocks:
        with built.connect() as connection, connection.transaction(force_rollback=True):
            connection.execute(block.replace("'…'", "'secret'").encode())


def test_links_of_the_front_page_lead_to_tables(project, described):
    """Every link has a target, and every mart is linked."""
    links = set(re.findall(r"#!/(?:model|source|exposure)/([\w.]+)", overview(project)))
    assert links <= set(described)
    assert {node.unique_id for node in marts_of(described)} <= links


def test_aggregates_are_described_by_their_definition(described):
    """The SQL in the description of each continuous aggregate equals that of its migration."""
    migration = (ROOT / "timescale/sql/migrations/0003_rollups.timescaledb.sql").read_text()
    for level in ("1m", "1h", "1d"):
        (definition,) = re.findall(
            rf"view telemetry\.reading_{level}\n.*?as\n(select.*?)\nwith no data", migration, re.DOTALL
        )
        (shown,) = sql_blocks(described[f"source.sensor_warehouse.telemetry.reading_{level}"].description)
        assert shown.strip() == definition


def test_lineage_reaches_from_the_topic_to_every_exposure(described):
    """Each dashboard and API depends on the messages of the broker, through models in the lineage."""
    for exposure in (node for node in described.values() if node.resource_type == "exposure"):
        above, waiting = set(), list(exposure.depends_on.nodes)
        while waiting:
            name = waiting.pop()
            if name not in above:
                above.add(name)
                waiting += described[name].depends_on.nodes if name.startswith(("model", "snapshot")) else []
        if exposure.name != "api_catalog":  # depends on the registry only
            assert "source.sensor_warehouse.mqtt.sensor_messages" in above, exposure.name


def test_every_dashboard_and_api_is_an_exposure(described):
    """All dashboards and API requests are exposures, with an owner and a maturity that fits the description."""
    exposures = {node.label: node for node in described.values() if node.resource_type == "exposure"}
    assert set(exposures) == {
        "Dashboard: Overview", "Dashboard: Motor load cycles and anomalies", "Dashboard: Data quality",
        "Dashboard: Pipeline", "API: GET /catalog", "API: GET /quality", "API: GET /readings", "API: GET /aggregates",
        "API: GET /load-cycles", "API: GET /anomalies",
    }  # fmt: skip
    for exposure in exposures.values():
        assert exposure.owner.name
        assert (exposure.maturity.value == "low") == exposure.description.startswith("Planned")


def test_macros_are_explained(project):
    """Every macro of the project has a description, and so has each of its listed arguments."""
    macros = [macro for macro in project.manifest.macros.values() if macro.package_name == "sensor_warehouse"]
    assert macros
    undescribed = [macro.name for macro in macros if not macro.description.strip()]
    undescribed += [
        f"{macro.name}.{argument.name}"
        for macro in macros
        for argument in macro.arguments
        if not argument.description.strip()
    ]
    assert undescribed == []


@pytest.fixture(scope="module")
def access(built: Marts, broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """The HTTP interface of the built database."""
    with login(built.database) as environment:
        server = Access({**environment, **broker.environment()}, tmp_path_factory.mktemp("access"))
        yield server
        server.close()


SERVED = {
    "/load-cycles": "select started_at, sensor_id, peak from marts.fct_load_cycle order by started_at, series_id",
    "/anomalies": "select started_at, sensor_id, reason from marts.fct_anomaly order by started_at, series_id, kind",
    "/quality/days": "select day, sensor_id, quality from marts.fct_quality_day order by day, sensor_id",
}


@pytest.mark.parametrize("path", SERVED)
def test_marts_are_served_over_http(access: Access, built: Marts, path: str):
    """The API returns all rows of a mart in pages of any size, in the documented format."""
    description = access.get("/openapi.json", scope=None).json()
    period = {"from_": "2020-01-01", "to": "2190-01-01"}
    validate(access.get(path, **period).json(), description, path)
    columns = re.findall(r"\w+", SERVED[path].split(" from ")[0].removeprefix("select "))
    for limit in (1, 1000):
        served = [tuple(item[name] for name in columns) for item in access.items(path, limit=limit, **period)]
        assert served == [tuple(as_json(value) for value in row) for row in built.rows(SERVED[path])]
    for name in sorted({sensor for _, sensor, _ in served}):
        items = access.items(path, sensor=name, limit=1000, **period)
        assert [tuple(item[name] for name in columns) for item in items] == [row for row in served if row[1] == name]


def as_json(value: Any) -> Any:
    """Return a value in its JSON form."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def test_the_catalog_over_http_has_every_mart(access: Access, built: Marts):
    """Each mart is listed with its description, described columns, and the roles that may read it."""
    tables = {table["name"]: table for table in access.items("/catalog") if table["name"].startswith("marts.")}
    expected = built.rows("select 'marts.' || table_name from information_schema.tables where table_schema = 'marts'")
    assert sorted(tables) == sorted(name for (name,) in expected)
    for name, table in tables.items():
        assert table["description"], name
        assert [column["name"] for column in table["columns"] if not column["description"]] == [], name
        assert {"access_api", "bi_reader", "data_scientist"} <= set(table["readers"])


CURL = re.compile(r"^.*\bcurl .*$", re.MULTILINE)


def test_the_lines_of_the_documentation_work(access: Access, tmp_path: Path):
    """Every curl command of docs/access.md succeeds, and every route has one."""
    lines = CURL.findall((ROOT / "docs" / "access.md").read_text())
    environment = {
        "PATH": os.environ["PATH"],
        "ACCESS_URL": access.url,
        "ACCESS_TOKEN": access.token("reader-and-writer", "read", "write"),
        "ACCESS_METRICS_TOKEN": access.tokens["metrics"],
    }
    environment["AUTH"] = f"Authorization: Bearer {environment['ACCESS_TOKEN']}"
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    script = "".join(f"{line} --fail-with-body || exit 1\necho\n" for line in lines)
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    for path, routes in access.get("/openapi.json", scope=None).json()["paths"].items():
        matching = [line for line in lines if f"$ACCESS_URL{path.split('{')[0]}" in line]
        assert matching, path
        assert "post" not in routes or any(" -d " in line for line in matching)
