"""The HTTP interface: what is answered is what is stored, and as its description says."""

import csv
import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
from fix_database import EDITIONS, Database
from fix_http import Access, login, problem, validated
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector.registry.sensors_file import load
from collector.registry.sync import synchronise

ROOT = Path(__file__).parents[3]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS = 5400
"""A reading a second of thermostat-1 from 01:00 on; the motor's come every ten seconds, all day."""

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
) as told (age, contract, name, outcome, sensor, series)
"""


@pytest.fixture(scope="module", params=EDITIONS)
def warehouse(request, servers) -> Iterator[Database]:
    """A day of readings and what checks have found, on each edition."""
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
    """A server over it."""
    with login(warehouse) as environment:
        server = Access({**environment, **broker.environment()}, tmp_path_factory.mktemp("access"))
        yield server
        server.close()


def rows(warehouse: Database, query: str, *values: object) -> list[tuple]:
    """Return what ``query`` finds."""
    with warehouse.connect() as connection:
        return connection.execute(query.encode(), values or None).fetchall()


@pytest.fixture(scope="module")
def described(access) -> dict:
    """The API's description."""
    return access.get("/openapi.json", scope=None).json()


HOUR = {"sensor": "thermostat-1", "from_": "2026-03-01T01:00:00Z", "to": "2026-03-01T02:00:00Z"}
DAY = {"from_": "2026-03-01", "to": "2026-03-02"}
ASKED = {
    "/sensors": {},
    "/readings": HOUR | {"limit": 5},
    "/aggregates": HOUR | {"window": "10s", "limit": 5},
    "/quality": {},
    "/quality/results": {},
    "/catalog": {},
    "/accounting": {},
}


@pytest.mark.parametrize("path", ASKED)
def test_answers_are_as_described(access, described, path):
    """Every list answers with what its schema says, and is not empty where something is stored."""
    answer = access.get(path, **ASKED[path])
    assert answer.status_code == 200, answer.text
    validated(answer.json(), described, path)
    if path != "/accounting":
        assert answer.json()["items"]


def test_the_description_is_whole(described):
    """Every route has a sentence, tags, and an example or a description for each parameter and column."""
    jsonschema.Draft202012Validator.check_schema({"components": described["components"]})
    for path, routes in described["paths"].items():
        for route in routes.values():
            assert route["description"], path
            assert route["tags"], path
            assert [one["name"] for one in route.get("parameters", []) if not one.get("description")] == [], path
    told = json.dumps(described)
    for reference in [part.split('"')[0] for part in told.split('"$ref": "#/components/schemas/')[1:]]:
        assert reference in described["components"]["schemas"]


def test_nothing_without_a_token(access, described):
    """Every route but /live and /ready refuses who has no token, a wrong one, or one of another scope."""
    scopes = {"/metrics": "metrics"}
    for path, routes in described["paths"].items():
        for method in routes:
            if path in ("/live", "/ready"):
                assert access.client.request(method, path).status_code == 200
                continue
            needed = "write" if method == "post" else scopes.get(path, "read")
            address = path.replace("{name}", "telemetry.reading")
            found = problem(access.client.request(method, address), 401, "no-token")
            assert "Bearer" in found["detail"]
            wrong = access.client.request(method, address, headers={"Authorization": "Bearer sw_wrong"})
            problem(wrong, 401, "no-token")
            assert wrong.headers["www-authenticate"].startswith("Bearer")
            for scope in {"read", "write", "metrics"} - {needed}:
                other = access.client.request(method, address, headers=access.headers(scope))
                assert needed in problem(other, 403, "not-allowed")["detail"]


def test_readings_are_those_that_are_stored(access, warehouse):
    """From an instant to before another, in order, each once, whatever the size of a part."""
    query = (
        "select time, value from telemetry.readings "
        "where sensor_id = 'thermostat-1' and time >= %s and time < %s order by time"
    )
    begin, end = BEGIN + timedelta(hours=1, minutes=59), BEGIN + timedelta(hours=2, seconds=1)
    stored = rows(warehouse, query, begin, end)
    assert len(stored) == 61
    for limit in (1, 7, 60, 61, 62, None):
        found = access.items(
            "/readings",
            sensor="thermostat-1",
            from_=begin.isoformat(),
            to=end.isoformat(),
            **({"limit": limit} if limit else {}),
        )
        assert [(datetime.fromisoformat(one["time"]), one["value"]) for one in found] == stored
        assert {(one["sensor_id"], one["quantity"], one["unit"]) for one in found} == {
            ("thermostat-1", "temperature", "Cel")
        }


def test_the_newest_reading(access):
    """``order=desc`` begins with the newest; its parts meet too."""
    (newest,) = access.get("/readings", sensor="thermostat-1", order="desc", limit=1, **DAY).json()["items"]
    last = BEGIN + timedelta(seconds=3600 + SECONDS - 1)
    assert datetime.fromisoformat(newest["time"]) == last
    told = {"sensor": "thermostat-1", "order": "desc", "from_": "2026-03-01T02:29:00Z", "to": "2026-03-02", "limit": 25}
    found = [datetime.fromisoformat(one["time"]) for one in access.items("/readings", **told)]
    assert found == [last - timedelta(seconds=n) for n in range(60)]


def test_all_series_come_one_after_the_other(access):
    """Without a sensor, those of all: by sensor, then by time; parts end and begin anywhere."""
    told = {"from_": "2026-03-01T01:00:00Z", "to": "2026-03-01T01:01:00Z"}
    whole = access.items("/readings", **told)
    assert [one["sensor_id"] for one in whole] == ["motor-1"] * 6 + ["thermostat-1"] * 60
    for limit in (1, 5, 6, 7, 65):
        assert access.items("/readings", limit=limit, **told) == whole
    assert access.items("/readings", site="patras", **told) == whole[:6]
    assert access.items("/readings", quantity=["voltage", "temperature"], area="hall-1", **told) == whole[6:]


def test_forms_hold_the_same(access):
    """JSON, NDJSON and CSV of a day are the same rows, by header and by parameter; CSV and NDJSON come whole."""
    told = {"sensor": "motor-1", "from_": "2026-03-01", "to": "2026-03-02"}
    rows = access.items("/readings", limit=5000, **told)
    lines = access.get("/readings", accept="application/x-ndjson", **told)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    table = access.get("/readings", format="csv", **told)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(table.text)))
    assert [{**one, "value": float(one["value"])} for one in read] == rows
    part = access.get("/readings", accept="text/csv", limit=10, **told)
    assert len(part.text.splitlines()) == 11
    following = part.headers["link"].removeprefix("<").split(">")[0]
    assert access.get(following, accept="text/csv").text.splitlines()[1:] == table.text.splitlines()[11:21]


def test_long_lists_come_in_parts_that_meet(access):
    """More rows than are read at a time are all there, once, in one answer."""
    told = {"from_": "2026-03-01", "to": "2026-03-02", "format": "csv"}
    found = list(csv.DictReader(io.StringIO(access.get("/readings", **told).text)))
    assert len(found) == 8640 + SECONDS
    assert len({(one["sensor_id"], one["time"]) for one in found}) == len(found)


def tumbling(warehouse: Database, begin: datetime, end: datetime, width: timedelta) -> list[tuple]:
    """Return what telemetry.window_means says of thermostat-1."""
    query = (
        "select bucket, average, minimum, maximum, sample_count from telemetry.window_means(%s, %s, %s) "
        "where sensor_id = 'thermostat-1'"
    )
    return rows(warehouse, query, begin, end, width)


def figures(items: list[dict]) -> list[tuple]:
    """Return the figures of windows."""
    return [
        (
            datetime.fromisoformat(one["bucket"]),
            pytest.approx(one["average"]),
            one["minimum"],
            one["maximum"],
            one["sample_count"],
        )
        for one in items
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
def test_windows_are_those_of_sql(access, warehouse, window, width, begin, end):
    """Raw readings, minutes, hours or days behind them: what telemetry.window_means says."""
    told = {"sensor": "thermostat-1", "from_": begin, "to": end, "window": window}
    wanted = tumbling(warehouse, datetime.fromisoformat(begin), datetime.fromisoformat(end), timedelta(seconds=width))
    assert wanted
    for limit in (3, 1000):
        assert figures(access.items("/aggregates", limit=limit, **told)) == wanted


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
def test_sliding_windows_are_those_counted_by_hand(access, begin, length, width, step, limit):
    """Every reading counts in each window that holds it; windows start every step, reach no further than the end."""
    width, step = max(width, step), min(width, step)
    first = BEGIN + timedelta(seconds=begin)
    told = {"from_": first.isoformat(), "to": (first + timedelta(seconds=length)).isoformat(), "limit": limit}
    items = access.items("/aggregates", sensor="thermostat-1", window=f"{width}s", step=f"{step}s", **told)
    wanted = []
    for start in range(begin, begin + length, step):
        inside = range(max(start, 3600), min(start + width, begin + length, 3600 + SECONDS))
        if inside:
            values = [20 + 5 * math.sin((BEGIN.timestamp() + n) / 1000) for n in inside]
            wanted.append((
                BEGIN + timedelta(seconds=start), pytest.approx(sum(values) / len(values)),
                pytest.approx(min(values)), pytest.approx(max(values)), len(values),
            ))  # fmt: skip
    assert [
        (datetime.fromisoformat(one["bucket"]), one["average"], one["minimum"], one["maximum"], one["sample_count"])
        for one in items
    ] == wanted


def test_seldom_readings_and_narrow_windows(access):
    """Where most windows are empty, following ``next`` finds every one that is not."""
    told = {"sensor": "motor-1", "from_": "2026-03-01T05:00:00Z", "to": "2026-03-01T05:20:00Z", "window": "5ms"}
    found = access.items("/aggregates", limit=30, **told)
    assert len(found) == 120
    assert {one["sample_count"] for one in found} == {1}


@pytest.mark.parametrize(
    ("asked", "parameter"),
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
def test_wrong_parameters_are_told(access, asked, parameter):
    """422 with the parameter's name, unknown ones too."""
    found = problem(access.get("/aggregates", sensor="thermostat-1", **asked), 422, "invalid")
    assert parameter in [one["parameter"] for one in found["errors"]]


@pytest.mark.parametrize("path", ["/load-cycles", "/anomalies", "/quality/days"])
def test_marts_that_are_not_built(access, path):
    """Where there are no marts yet, what needs them says so, and how they are built; the rest goes on."""
    assert "make marts" in problem(access.get(path), 503, "not-built")["detail"]


def test_what_is_named_must_be_there(access):
    """An unknown sensor, or a quantity that it has not, is 404 with what there is."""
    assert "'porch'" in problem(access.get("/readings", sensor="porch"), 404, "not-found")["detail"]
    found = problem(access.get("/readings", sensor="motor-1", quantity="temperature"), 404, "not-found")
    assert "voltage" in found["detail"]
    problem(access.get("/aggregates", quantity="colour", window="1m"), 404, "not-found")
    problem(access.get("/catalog/marts.nothing"), 404, "not-found")
    problem(access.get("/nothing"), 404, "not-found")
    problem(access.get("/readings/"), 404, "not-found")


def test_other_mistakes_are_problems_too(access):
    """A wrong method, a form that there isn't, a cursor of another request."""
    refused = access.client.delete("/readings", headers=access.headers("write"))
    problem(refused, 405, "wrong-method")
    assert refused.headers["allow"]
    problem(access.get("/sensors", accept="text/html"), 406, "not-acceptable")
    following = access.get("/sensors", limit=1).json()["next"]
    cursor = following.split("cursor=")[1]
    problem(access.get("/sensors", cursor="x"), 400, "malformed")
    problem(access.get("/sensors", cursor=cursor, site="athens"), 400, "malformed")
    problem(access.get("/quality", cursor=cursor), 400, "malformed")


def test_kinds_of_problems_are_explained(access):
    """The address that ``type`` holds says what the kind means, without a token."""
    kind = problem(access.get("/nothing", scope=None), 404, "not-found")["type"]
    told = access.get(kind, scope=None).json()
    assert (told["type"], told["status"]) == (kind, 404)
    assert told["description"]
    problem(access.get("/problems/none", scope=None), 404, "not-found")


def test_sensors_with_what_they_measure(access, warehouse):
    """The registry, in parts, with the series of each."""
    found = access.items("/sensors", limit=2)
    stored = rows(warehouse, "select sensor_id from telemetry.sensor where retired_at is null order by sensor_id")
    assert [(one["sensor_id"],) for one in found] == stored
    (motor,) = access.items("/sensors", type="motor")
    assert [(one["quantity"], one["unit"]) for one in motor["series"]] == [("voltage", "V")]
    assert access.items("/sensors", site="nowhere") == []


def test_the_last_state_of_every_check(access):
    """Of each contract the last scan; filtered by outcome and sensor; and all of them over time, the newest first."""
    last = {(one["contract"], one["check_name"]): one["outcome"] for one in access.items("/quality", limit=1)}
    assert last == {
        ("reading", "silent"): "failed",
        ("reading", "rows"): "not evaluated: no rows",
        ("intake", "balanced"): "passed",
    }
    assert [one["check_name"] for one in access.items("/quality", outcome="failed")] == ["silent"]
    assert [one["check_name"] for one in access.items("/quality", outcome="not evaluated")] == ["rows"]
    assert [one["check_name"] for one in access.items("/quality", sensor="motor-1")] == ["silent"]
    results = access.items("/quality/results", limit=2)
    assert len(results) == 5
    assert [one["checked_at"] for one in results] == sorted((one["checked_at"] for one in results), reverse=True)


def test_the_catalog_is_that_of_the_database(access):
    """Every table with comments, types, and who may read it; each has an entry of its own."""
    found = {one["name"]: one for one in access.items("/catalog")}
    assert {"telemetry.reading", "telemetry.reading_1m", "quality.check_result"} <= set(found)
    for name, one in found.items():
        assert one["description"], name
        assert [column["name"] for column in one["columns"] if not column["description"]] == [], name
    reading = access.get("/catalog/telemetry.reading").json()
    assert reading == found["telemetry.reading"]
    assert [(column["name"], column["type"]) for column in reading["columns"]][:3] == [
        ("time", "timestamp with time zone"), ("series_id", "integer"), ("value", "double precision"),
    ]  # fmt: skip
    assert {"access_api", "data_scientist"} <= set(reading["readers"])
    assert "bi_reader" not in reading["readers"]


def test_metrics_count_by_route(access):
    """Requests are counted by route and status, whatever was asked for; who has the scope sees it."""
    access.get("/catalog/telemetry.series")
    access.get("/no/such/path")
    text = access.get("/metrics", scope="metrics").text
    assert 'access_requests_total{method="GET",route="/catalog/{name}",status="200"}' in text
    assert 'access_request_seconds_count{method="GET",route="/catalog/{name}"}' in text
    assert 'route="none",status="404"' in text
    assert "/no/such/path" not in text
    assert "access_broker_connected 1.0" in text


def test_the_page_loads_nothing_from_elsewhere(access, browser):
    """The page of the API shows its routes in a browser; all that it loads is from this server."""
    shown = browser.show(f"{access.url}/docs", "/aggregates", "/load-cycles", "Authorize")
    assert "sensor-warehouse" in shown
    loaded = browser.evaluate("JSON.stringify(performance.getEntriesByType('resource').map(one => one.name))")
    assert loaded
    assert [name for name in json.loads(loaded) if not name.startswith((access.url, "data:"))] == []
