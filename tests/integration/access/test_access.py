"""The HTTP interface returns stored data, and its responses match the OpenAPI description."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from fix_collector import until
from fix_database import EDITIONS, Database
from fix_http import Access, login, problem, validate
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.registry.sensors_file import load
from collector.registry.sync import synchronise

ROOT = Path(__file__).parents[3]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS = 5400
"""Number of readings of thermostat-1, one per second from 01:00 on; the motor has one every ten seconds all day."""

READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select time, series_id, 20 + 5 * sin(extract(epoch from time) / 1000), time
from telemetry.series
cross join generate_series(%(begin)s::timestamptz + interval '1 hour', %(last)s, interval '1 second') as time
where sensor_id = 'thermostat-1'
union all
select
    time,
    series_id,
    case when extract(minute from time) between 20 and 39 then 16 else 12 end + sin(extract(epoch from time)) / 10,
    time
from telemetry.series
cross join generate_series(%(begin)s, %(begin)s + interval '24 hours', interval '10 seconds') as time
where sensor_id = 'motor-1'
order by 2, 1
"""
CHECKS = """
insert into quality.check_result
(scan_id, checked_at, contract, dataset, check_name, check_type, outcome, measured_value, sensor_id, series_id)
select
    gen_random_uuid(), now() - age * interval '1 minute', contract, 'telemetry.' || contract, name, 'metric', outcome,
    1, sensor, series
from (
    values
    (10, 'reading', 'silent', 'passed', 'motor-1', 1), (10, 'reading', 'rows', 'passed', null, null),
    (5, 'reading', 'silent', 'failed', 'motor-1', 1), (5, 'reading', 'rows', 'not evaluated: no rows', null, null),
    (20, 'intake', 'balanced', 'passed', null, null)
) as results (age, contract, name, outcome, sensor, series)
"""


@pytest.fixture(scope="module", params=EDITIONS)
def warehouse(request, servers) -> Iterator[Database]:
    """A day of readings and some check results, on each edition."""
    servers.get(request.param)
    database = servers.create(request.param, template="template")
    with database.connect() as connection:
        synchronise(connection, load(ROOT / "sensors.json"))
        connection.execute(READINGS, {"begin": BEGIN, "last": BEGIN + timedelta(seconds=3600 + SECONDS - 1)})
        connection.execute(CHECKS)
    database.refresh()
    yield database
    servers.drop(database)


@pytest.fixture(scope="module")
def access(warehouse: Database, broker, tmp_path_factory) -> Iterator[Access]:
    """A server of that database."""
    with login(warehouse) as environment:
        server = Access({**environment, **broker.environment()}, tmp_path_factory.mktemp("access"))
        yield server
        server.close()


def rows(warehouse: Database, query: str, *values: object) -> list[tuple]:
    """Return the rows of ``query``."""
    with warehouse.connect() as connection:
        return connection.execute(query.encode(), values or None).fetchall()


@pytest.fixture(scope="module")
def openapi(access) -> dict:
    """The OpenAPI description."""
    return access.get("/openapi.json", scope=None).json()


HOUR = {"sensor": "thermostat-1", "from_": "2026-03-01T01:00:00Z", "to": "2026-03-01T02:00:00Z"}
DAY = {"from_": "2026-03-01", "to": "2026-03-02"}
REQUESTS = {
    "/sensors": {},
    "/readings": HOUR | {"limit": 5},
    "/aggregates": HOUR | {"window": "10s", "limit": 5},
    "/quality": {},
    "/quality/results": {},
    "/catalog": {},
    "/accounting": {},
}


@pytest.mark.parametrize("path", REQUESTS)
def test_responses_match_the_description(access, openapi, path):
    """Every list matches its schema and is not empty."""
    response = access.get(path, **REQUESTS[path])
    assert response.status_code == 200, response.text
    validate(response.json(), openapi, path)
    if path != "/accounting":
        assert response.json()["items"]


def test_the_description_is_complete(openapi):
    """Every route has a description and tags, every parameter a description, and every schema reference resolves."""
    jsonschema.Draft202012Validator.check_schema({"components": openapi["components"]})
    for path, routes in openapi["paths"].items():
        for route in routes.values():
            assert route["description"], path
            assert route["tags"], path
            assert [
                parameter["name"] for parameter in route.get("parameters", []) if not parameter.get("description")
            ] == [], path
    text = json.dumps(openapi)
    for reference in [part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]]:
        assert reference in openapi["components"]["schemas"]


def test_requests_need_a_token_with_the_scope(access, openapi):
    """Every route but /live and /ready refuses a missing token, an unknown one, and one with another scope."""
    scopes = {"/metrics": "metrics"}
    for path, routes in openapi["paths"].items():
        for method in routes:
            if path in ("/live", "/ready"):
                assert access.client.request(method, path).status_code == 200
                continue
            needed = "write" if method == "post" else scopes.get(path, "read")
            url = path.replace("{name}", "telemetry.reading")
            missing = problem(access.client.request(method, url), 401, "no-token")
            assert "Bearer" in missing["detail"]
            unknown = access.client.request(method, url, headers={"Authorization": "Bearer sw_wrong"})
            problem(unknown, 401, "no-token")
            assert unknown.headers["www-authenticate"].startswith("Bearer")
            for scope in {"read", "write", "metrics"} - {needed}:
                other = access.client.request(method, url, headers=access.headers(scope))
                assert needed in problem(other, 403, "not-allowed")["detail"]


def test_readings_are_the_stored_ones(access, warehouse):
    """Every reading of the period once and in order, for any page size."""
    query = (
        "select time, value from telemetry.readings "
        "where sensor_id = 'thermostat-1' and time >= %s and time < %s order by time"
    )
    begin, end = BEGIN + timedelta(hours=1, minutes=59), BEGIN + timedelta(hours=2, seconds=1)
    stored = rows(warehouse, query, begin, end)
    assert len(stored) == 61
    for limit in (1, 7, 60, 61, 62, None):
        items = access.items(
            "/readings",
            sensor="thermostat-1",
            from_=begin.isoformat(),
            to=end.isoformat(),
            **({"limit": limit} if limit else {}),
        )
        assert [(datetime.fromisoformat(item["time"]), item["value"]) for item in items] == stored
        assert {(item["sensor_id"], item["quantity"], item["unit"]) for item in items} == {
            ("thermostat-1", "temperature", "Cel")
        }


def test_the_newest_reading(access):
    """``order=desc`` begins with the newest reading, and its pages are contiguous."""
    (newest,) = access.get("/readings", sensor="thermostat-1", order="desc", limit=1, **DAY).json()["items"]
    last = BEGIN + timedelta(seconds=3600 + SECONDS - 1)
    assert datetime.fromisoformat(newest["time"]) == last
    params = {
        "sensor": "thermostat-1",
        "order": "desc",
        "from_": "2026-03-01T02:29:00Z",
        "to": "2026-03-02",
        "limit": 25,
    }
    times = [datetime.fromisoformat(item["time"]) for item in access.items("/readings", **params)]
    assert times == [last - timedelta(seconds=n) for n in range(60)]


def test_readings_of_all_series_are_ordered_by_sensor(access):
    """Without a sensor all series are returned, ordered by sensor and time; a page may end within a series."""
    params = {"from_": "2026-03-01T01:00:00Z", "to": "2026-03-01T01:01:00Z"}
    complete = access.items("/readings", **params)
    assert [item["sensor_id"] for item in complete] == ["motor-1"] * 6 + ["thermostat-1"] * 60
    for limit in (1, 5, 6, 7, 65):
        assert access.items("/readings", limit=limit, **params) == complete
    assert access.items("/readings", site="patras", **params) == complete[:6]
    assert access.items("/readings", quantity=["voltage", "temperature"], area="hall-1", **params) == complete[6:]


def test_formats_have_the_same_rows(access):
    """JSON, NDJSON and CSV of a day have the same rows, by header and by parameter; CSV and NDJSON are complete."""
    params = {"sensor": "motor-1", "from_": "2026-03-01", "to": "2026-03-02"}
    rows = access.items("/readings", limit=5000, **params)
    lines = access.get("/readings", accept="application/x-ndjson", **params)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    table = access.get("/readings", format="csv", **params)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    csv_rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [{**row, "value": float(row["value"])} for row in csv_rows] == rows
    page = access.get("/readings", accept="text/csv", limit=10, **params)
    assert len(page.text.splitlines()) == 11
    next_url = page.headers["link"].removeprefix("<").split(">")[0]
    assert access.get(next_url, accept="text/csv").text.splitlines()[1:] == table.text.splitlines()[11:21]


def test_long_lists_are_complete(access):
    """A list longer than one internal page is returned completely and without duplicates in one response."""
    params = {"from_": "2026-03-01", "to": "2026-03-02", "format": "csv"}
    rows = list(csv.DictReader(io.StringIO(access.get("/readings", **params).text)))
    assert len(rows) == 8640 + SECONDS
    assert len({(row["sensor_id"], row["time"]) for row in rows}) == len(rows)


def tumbling(warehouse: Database, begin: datetime, end: datetime, width: timedelta) -> list[tuple]:
    """Return telemetry.window_means of thermostat-1."""
    query = (
        "select bucket, average, minimum, maximum, sample_count from telemetry.window_means(%s, %s, %s) "
        "where sensor_id = 'thermostat-1'"
    )
    return rows(warehouse, query, begin, end, width)


def figures(items: list[dict]) -> list[tuple]:
    """Return the values of windows."""
    return [
        (
            datetime.fromisoformat(item["bucket"]),
            pytest.approx(item["average"]),
            item["minimum"],
            item["maximum"],
            item["sample_count"],
        )
        for item in items
    ]


@pytest.mark.parametrize(
    ("window", "width", "begin", "end"),
    [
        ("10s", 10, "2026-03-01T00:59:57.5Z", "2026-03-01T01:02:03Z"),
        ("7s", 7, "2026-03-01T02:29:00Z", "2026-03-01T03:00:00Z"),
        ("1m", 60, "2026-03-01T00:00:00Z", "2026-03-01T04:00:00Z"),
        ("1m", 60, "2026-03-01T01:00:30Z", "2026-03-01T01:10:00Z"),
        ("90m", 5400, "2026-03-01T00:30:00Z", "2026-03-01T04:00:00Z"),
        ("1h", 3600, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
        ("1d", 86_400, "2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z"),
    ],
)
def test_windows_match_sql(access, warehouse, window, width, begin, end):
    """Windows from raw readings, minutes, hours or days equal telemetry.window_means."""
    params = {"sensor": "thermostat-1", "from_": begin, "to": end, "window": window}
    expected = tumbling(warehouse, datetime.fromisoformat(begin), datetime.fromisoformat(end), timedelta(seconds=width))
    assert expected
    for limit in (3, 1000):
        assert figures(access.items("/aggregates", limit=limit, **params)) == expected


VALUES = [(BEGIN + timedelta(seconds=3600 + n)) for n in range(SECONDS)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    begin=st.integers(3000, 9500),
    length=st.integers(1, 400),
    width=st.integers(1, 90),
    step=st.integers(1, 90),
    limit=st.sampled_from([2, 17, 1000]),
)
@example(begin=3590, length=60, width=10, step=1, limit=1000)
@example(begin=3590, length=60, width=60, step=60, limit=2)
def test_sliding_windows_match_a_direct_computation(access, begin, length, width, step, limit):
    """Every reading is in each window that contains it; windows start every step and end at ``to`` at the latest."""
    width, step = max(width, step), min(width, step)
    first = BEGIN + timedelta(seconds=begin)
    params = {"from_": first.isoformat(), "to": (first + timedelta(seconds=length)).isoformat(), "limit": limit}
    items = access.items("/aggregates", sensor="thermostat-1", window=f"{width}s", step=f"{step}s", **params)
    expected = []
    for start in range(begin, begin + length, step):
        inside = range(max(start, 3600), min(start + width, begin + length, 3600 + SECONDS))
        if inside:
            values = [20 + 5 * math.sin((BEGIN.timestamp() + n) / 1000) for n in inside]
            expected.append((
                BEGIN + timedelta(seconds=start), pytest.approx(sum(values) / len(values)),
                pytest.approx(min(values)), pytest.approx(max(values)), len(values),
            ))  # fmt: skip
    assert [
        (
            datetime.fromisoformat(item["bucket"]),
            item["average"],
            item["minimum"],
            item["maximum"],
            item["sample_count"],
        )
        for item in items
    ] == expected


def test_narrow_windows_over_sparse_readings(access):
    """If most windows are empty, following ``next`` returns every window with readings."""
    params = {"sensor": "motor-1", "from_": "2026-03-01T05:00:00Z", "to": "2026-03-01T05:20:00Z", "window": "5ms"}
    windows = access.items("/aggregates", limit=30, **params)
    assert len(windows) == 120
    assert {window["sample_count"] for window in windows} == {1}


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({}, "window"),
        ({"window": "10"}, "window"),
        ({"window": "10s", "step": "20s"}, "step"),
        ({"window": "1d", "step": "1s"}, "step"),
        ({"window": "10s", "from_": "yesterday"}, "from"),
        ({"window": "10s", "from_": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"window": "10s", "limit": 0}, "limit"),
        ({"window": "10s", "limit": 10_001}, "limit"),
        ({"window": "10s", "format": "xml"}, "format"),
        ({"window": "10s", "sensors": "thermostat-1"}, "sensors"),
    ],
)
def test_invalid_parameters_are_named(access, params, parameter):
    """An invalid or unknown parameter gives 422 with its name."""
    document = problem(access.get("/aggregates", sensor="thermostat-1", **params), 422, "invalid")
    assert parameter in [mistake["parameter"] for mistake in document["errors"]]


@pytest.mark.parametrize("path", ["/load-cycles", "/anomalies", "/quality/days"])
def test_missing_marts_are_reported(access, path):
    """Lists from marts that are not built yet give 503 with the command to build them."""
    assert "make marts" in problem(access.get(path), 503, "not-built")["detail"]


def test_unknown_names_are_not_found(access):
    """An unknown sensor, quantity, table or path gives 404; the detail names the known quantities."""
    assert "'porch'" in problem(access.get("/readings", sensor="porch"), 404, "not-found")["detail"]
    document = problem(access.get("/readings", sensor="motor-1", quantity="temperature"), 404, "not-found")
    assert "voltage" in document["detail"]
    problem(access.get("/aggregates", quantity="colour", window="1m"), 404, "not-found")
    problem(access.get("/catalog/marts.nothing"), 404, "not-found")
    problem(access.get("/nothing"), 404, "not-found")
    problem(access.get("/readings/"), 404, "not-found")


def test_other_errors_are_problem_documents(access):
    """A wrong method, an unavailable format, and a cursor of another request."""
    refused = access.client.delete("/readings", headers=access.headers("write"))
    problem(refused, 405, "wrong-method")
    assert refused.headers["allow"]
    problem(access.get("/sensors", accept="text/html"), 406, "not-acceptable")
    next_url = access.get("/sensors", limit=1).json()["next"]
    cursor = next_url.split("cursor=")[1]
    problem(access.get("/sensors", cursor="x"), 400, "malformed")
    problem(access.get("/sensors", cursor=cursor, site="athens"), 400, "malformed")
    problem(access.get("/quality", cursor=cursor), 400, "malformed")


def test_kinds_of_problems_are_explained(access):
    """The URL in ``type`` explains the kind, without a token."""
    kind = problem(access.get("/nothing", scope=None), 404, "not-found")["type"]
    explanation = access.get(kind, scope=None).json()
    assert (explanation["type"], explanation["status"]) == (kind, 404)
    assert explanation["description"]
    problem(access.get("/problems/none", scope=None), 404, "not-found")


def test_sensors_with_their_series(access, warehouse):
    """All sensors of the registry, in pages, with their series."""
    sensors = access.items("/sensors", limit=2)
    stored = rows(warehouse, "select sensor_id from telemetry.sensor where retired_at is null order by sensor_id")
    assert [(sensor["sensor_id"],) for sensor in sensors] == stored
    (motor,) = access.items("/sensors", type="motor")
    assert [(series["quantity"], series["unit"]) for series in motor["series"]] == [("voltage", "V")]
    assert access.items("/sensors", site="nowhere") == []


def test_last_results_of_checks(access):
    """The last scan of each contract, filtered by outcome and sensor; and all results, newest first."""
    last = {(check["contract"], check["check_name"]): check["outcome"] for check in access.items("/quality", limit=1)}
    assert last == {
        ("reading", "silent"): "failed",
        ("reading", "rows"): "not evaluated: no rows",
        ("intake", "balanced"): "passed",
    }
    assert [check["check_name"] for check in access.items("/quality", outcome="failed")] == ["silent"]
    assert [check["check_name"] for check in access.items("/quality", outcome="not evaluated")] == ["rows"]
    assert [check["check_name"] for check in access.items("/quality", sensor="motor-1")] == ["silent"]
    results = access.items("/quality/results", limit=2)
    assert len(results) == 5
    assert [result["checked_at"] for result in results] == sorted(
        (result["checked_at"] for result in results), reverse=True
    )


def test_catalog_of_the_database(access):
    """Every table with comments, types and readers; each is also available separately."""
    relations = {relation["name"]: relation for relation in access.items("/catalog")}
    assert {"telemetry.reading", "telemetry.reading_1m", "quality.check_result"} <= set(relations)
    for name, relation in relations.items():
        assert relation["description"], name
        assert [column["name"] for column in relation["columns"] if not column["description"]] == [], name
    reading = access.get("/catalog/telemetry.reading").json()
    assert reading == relations["telemetry.reading"]
    assert [(column["name"], column["type"]) for column in reading["columns"]][:3] == [
        ("time", "timestamp with time zone"), ("series_id", "integer"), ("value", "double precision"),
    ]  # fmt: skip
    assert {"access_api", "data_scientist"} <= set(reading["readers"])
    assert "bi_reader" not in reading["readers"]


def test_metrics_count_by_route(access):
    """Requests are counted by route template and status; unknown paths share one label."""
    access.get("/catalog/telemetry.series")
    access.get("/no/such/path")
    text = access.get("/metrics", scope="metrics").text
    assert 'access_requests_total{method="GET",route="/catalog/{name}",status="200"}' in text
    assert 'access_request_seconds_count{method="GET",route="/catalog/{name}"}' in text
    assert 'route="none",status="404"' in text
    assert "/no/such/path" not in text
    assert "access_broker_connected 1.0" in text


def test_documentation_page_loads_only_local_assets(access, browser):
    """A browser shows the routes on the documentation page and loads everything from this server."""
    page = browser.show(f"{access.url}/docs", "/aggregates", "/load-cycles", "Authorize")
    assert "sensor-warehouse" in page
    loaded = browser.evaluate("JSON.stringify(performance.getEntriesByType('resource').map(entry => entry.name))")
    assert loaded
    assert [name for name in json.loads(loaded) if not name.startswith((access.url, "data:"))] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/readings?sensor_id=%00", 422),
        ("/sensors/%00", 422),
        ("/readings?cursor=WyJ4Il0", 400),
        ("/readings?cursor=%00", 422),
    ],
)
def test_texts_that_the_database_refuses(access, path, status):
    """NUL characters and forged cursors get a problem document."""
    response = access.client.get(path, headers=access.headers("read"))
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_half_a_surrogate_pair(access):
    """A body with half a surrogate pair gets a problem document."""
    body = b'{"device_id": "t0", "timestamp": "2026-03-01T12:00:00Z", "\\ud800": "x"}'
    problem(access.post(body, content_type="application/json"), 400, "malformed")


def test_invented_methods_are_one_label(access):
    """Methods that the server does not have are counted together."""
    for method in ("PROPFIND", "MKCOL", "INVENTED"):
        assert access.client.request(method, "/readings", headers=access.headers("read")).status_code in (400, 405)
    metrics = access.get("/metrics", scope="metrics").text
    assert 'method="other"' in metrics
    assert not re.search("PROPFIND|MKCOL|INVENTED", metrics)


def test_refused_requests_are_logged(access):
    """A request with an unknown token is a line of the log, with client and path."""
    access.client.get("/readings?sensor=a", headers={"Authorization": "Bearer wrong"})
    expected = {"event": "request refused", "status": 401, "client": "127.0.0.1", "method": "GET", "path": "/readings"}
    until(lambda: any(expected.items() <= line.items() for line in access.lines))
