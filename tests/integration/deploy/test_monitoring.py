"""Prometheus: configuration, alerts and their runbooks, and the queries of postgres-exporter."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
QUERIES = YAML(typ="safe").load(FOLDER / "queries.yml")
ALERTS = YAML(typ="safe").load(FOLDER / "alerts.yml")["groups"][0]["rules"]


@pytest.mark.parametrize(
    "command", [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]], ids=["config", "alerts"]
)
def test_promtool_accepts_configuration_and_alerts(command):
    """The configuration is valid; each alert fires only in its test cases."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    process = subprocess.run(
        ["promtool", *command], check=False, cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_has_a_runbook_and_a_test(alert):
    """The runbook has a heading with the name of the alert, and the promtool test names it."""
    name = alert["alert"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^### (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert name in headings
    assert anchor == name.lower()
    assert f'alertname="{name}"' in (FOLDER / "alerts_test.yml").read_text()


def test_every_metric_of_an_alert_exists():
    """Every metric in an alert comes from collector, archiver or a query of the exporter."""
    exported = {
        f"{name}_{column}"
        for name, query in QUERIES.items()
        for metric in query["metrics"]
        for column, definition in metric.items()
        if definition["usage"] != "LABEL"
    }
    known = "".join(path.read_text() for path in (ROOT / "collector").rglob("*.py"))
    for alert in ALERTS:
        for metric in re.findall(r"\b(?:collector|archive|warehouse)_\w+", alert["expr"]):
            suffix = re.sub(r"^(collector|archive)_", "", metric).removesuffix("_total")
            assert metric in exported or f"_{suffix}" in known, metric


@pytest.mark.parametrize("name", QUERIES)
def test_every_exporter_query_returns_its_metrics(name, database):
    """As a member of monitoring each query returns one column per metric, on both editions."""
    with database.connect() as connection:
        connection.execute("""
            insert into telemetry.sensor (sensor_id, type, site, area, topic, since)
            values ('s', 'k', 'a', 'b', 't', '2020-01-01');
            insert into telemetry.series (sensor_id, quantity, unit, interval_seconds) values ('s', 'q', '1', 60);
            insert into telemetry.reading select now(), series_id, 1, now() from telemetry.series;
            insert into telemetry.live_series select series_id, now() from telemetry.series;
            insert into telemetry.quarantine (received_at, source, topic, payload, retained, reason, detail, readings)
            values (now(), 'mqtt', 't', '1', false, 'malformed', '', 0)
        """)
        connection.execute("set role monitoring")
        cursor = connection.execute(QUERIES[name]["query"])
        names = [column.name for column in cursor.description]
        assert cursor.fetchall()
    assert names == [column for metric in QUERIES[name]["metrics"] for column in metric]


@pytest.mark.parametrize("edition", ["timescaledb"], indirect=True)
def test_rollup_lag_is_measured_from_the_newest_reading(database):
    """Old readings cause no lag; readings newer than the aggregates do, until the next refresh."""
    lag = "select lag_seconds from telemetry.rollup_lag where level = '1m'"
    with database.connect() as connection:
        connection.execute("""
            insert into telemetry.sensor (sensor_id, type, site, area, topic, since)
            values ('s', 'k', 'a', 'b', 't', '2020-01-01');
            insert into telemetry.series (sensor_id, quantity, unit, interval_seconds) values ('s', 'q', '1', 60);
            insert into telemetry.reading select '2025-01-01 00:00:30+00', series_id, 1, now() from telemetry.series
        """)
        database.refresh()
        assert connection.execute(lag).fetchone() == (0,)
        connection.execute(
            "insert into telemetry.reading select '2025-01-01 02:01+00', series_id, 1, now() from telemetry.series"
        )
        assert connection.execute(lag).fetchone() == (7200,)
        database.refresh()
        assert connection.execute(lag).fetchone() == (0,)
