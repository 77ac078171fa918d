"""Posted readings are stored by the collector; responses while the database or the broker is not available."""

import asyncio
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
from fix_collector import until
from fix_http import PROGRAM, Access, login, problem

from access.auth.tokens import TokenFile, issue
from access.database import Database as Pool
from local_services.broker import LocalBroker
from local_services.ports import free_port

TIME = "2026-03-01T12:00:0{}Z"


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[[dict[str, str]], Access]]:
    """Start servers with given settings; stop them after the test."""
    with ExitStack() as stack:

        def start(environment: dict[str, str]) -> Access:
            server = Access(environment, tmp_path)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def role(database) -> Iterator[dict[str, str]]:
    """A database login with the role of the HTTP interface."""
    with login(database) as environment:
        yield environment


def test_posted_readings_are_stored(database, role, broker, collectors, serve, unique):
    """Both formats pass broker and collector, as one, list and NDJSON; GET returns them and the accounting balances."""
    collectors.start({**database.environment, **broker.environment()})
    access = serve({**role, **broker.environment(), "ACCESS_PUBLISH_TOPIC": unique + "/{device_id}"})
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    wide = [{"device_id": "t0", "timestamp": TIME.format(n), "temperature": 20 + n, "tag": "x"} for n in range(4)]
    narrow = [{"device_id": "t1", "timestamp": TIME.format(n), "sensor": "humidity", "value": 50.5} for n in range(3)]
    responses = [
        access.post(wide[0]),
        access.post([*wide[1:3], *narrow[:2]]),
        access.post(
            b"\n".join(json.dumps(reading).encode() for reading in [wide[3], narrow[2]]),
            content_type="application/x-ndjson",
        ),
        access.post(wide[0]),
    ]
    assert [(response.status_code, response.json()["accepted"]) for response in responses] == [
        (202, 1),
        (202, 4),
        (202, 2),
        (202, 1),
    ]
    until(lambda: access.get("/accounting").json()["readings"] == 8)
    items = access.items("/readings", from_="2026-03-01", to="2026-03-02")
    assert [(item["sensor_id"], item["quantity"], item["time"], item["value"]) for item in items] == [
        *(("t0", "temperature", TIME.format(n), 20.0 + n) for n in range(4)),
        *(("t1", "humidity", TIME.format(n), 50.5) for n in range(3)),
    ]
    accounts = access.get("/accounting").json()
    assert (accounts["stored"], accounts["duplicate"], accounts["balanced"]) == (7, 1, True)
    metrics = access.get("/metrics", scope="metrics").text
    assert 'access_readings_total{outcome="accepted"} 8.0' in metrics


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_invalid_bodies_are_refused(database, role, broker, serve):
    """Nothing is published of a body that is too large, not JSON, compressed, of another type or with a mistake."""
    access = serve({**role, **broker.environment(), "ACCESS_MAX_BODY_KILOBYTES": "1"})
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    good = {"device_id": "t0", "timestamp": TIME.format(0), "temperature": 20}
    problem(access.post(b"x" * 1025, content_type="application/json"), 413, "too-large")
    parts = (b"x" * 100 for _ in range(20))
    chunked = access.client.post(
        "/readings", content=parts, headers=access.headers("write") | {"Content-Type": "application/json"}
    )
    problem(chunked, 413, "too-large")
    problem(access.post(b"{", content_type="application/json"), 400, "malformed")
    problem(access.post(b"a=1", content_type="application/x-www-form-urlencoded"), 415, "wrong-media-type")
    problem(access.post(b"{}", content_type="application/json", content_encoding="gzip"), 415, "wrong-media-type")
    document = problem(access.post([good, good | {"temperature": "20"}]), 422, "invalid")
    assert document["errors"] == [{"pointer": "#/1/temperature", "detail": "expected a number or a boolean"}]
    with database.connect() as connection:
        connection.execute(
            "insert into telemetry.sensor (sensor_id, type, site, area, topic, since) values "
            "('t0', 'x', 's', 'a', 'sensors/far/t0', '2000-01-01'), "
            "('t1', 'x', 's', 'a', 'sensors/http/t1', '2000-01-01')"
        )
    (mistake,) = problem(access.post([good | {"device_id": "t1"}, good]), 422, "invalid")["errors"]
    assert mistake["pointer"] == "#/1/device_id"
    assert "sensors/far/t0" in mistake["detail"]
    assert access.post(good | {"device_id": "t1"}).status_code == 202
    assert 'access_readings_total{outcome="accepted"} 1.0' in access.get("/metrics", scope="metrics").text


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_broker_outage(role, serve, tmp_path_factory):
    """During the outage posting gives 503 with the accepted readings and reading works; afterwards both work again."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as broker:
        access = serve({**role, **broker.environment()})
        until(lambda: access.get("/ready", scope=None).status_code == 200)
        reading = {"device_id": "t0", "timestamp": TIME.format(0), "temperature": 20}
        assert access.post(reading).status_code == 202
        broker.kill()
        until(lambda: access.post(reading).status_code == 503)
        refused = access.post([reading, reading])
        assert problem(refused, 503, "broker-away")["accepted"] == []
        assert int(refused.headers["retry-after"]) > 0
        assert "broker" in access.get("/ready", scope=None).text
        assert access.get("/sensors").status_code == 200
        assert access.get("/live", scope=None).status_code == 200
        broker.start()
        until(lambda: access.post(reading).status_code == 202)
        assert access.get("/ready", scope=None).status_code == 200


def test_posting_works_without_the_database(broker, serve):
    """Without the database reading gives 503 with Retry-After; posted readings wait in the broker."""
    nowhere = {"PGHOST": "127.0.0.1", "PGPORT": str(free_port()), "PGUSER": "x", "PGPASSWORD": "x", "PGDATABASE": "x"}
    access = serve({**nowhere, **broker.environment()})
    refused = access.get("/sensors")
    problem(refused, 503, "database-away")
    assert int(refused.headers["retry-after"]) > 0
    assert "database" in access.get("/ready", scope=None).text
    until(lambda: access.post({"device_id": "x", "timestamp": TIME.format(0), "temperature": 2}).status_code == 202)
    assert access.stop() == 0


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_slow_queries_and_lost_connections(database, role, broker, serve):
    """A query above the timeout gives 504, too many requests of a token 429; lost connections are replaced."""
    access = serve({**role, **broker.environment(), "ACCESS_QUERY_SECONDS": "3", "ACCESS_REQUESTS_PER_TOKEN": "1"})
    assert access.get("/sensors").status_code == 200
    responses = []
    with database.connect(autocommit=False) as connection:
        connection.execute("lock table telemetry.sensor in access exclusive mode")
        slow = threading.Thread(target=lambda: responses.append(access.get("/sensors")))
        slow.start()
        # The second request must wait until the slow one is active: otherwise the second one would be admitted.
        waits = "select count(*) from pg_stat_activity where application_name = 'access' and wait_event_type = 'Lock'"
        with database.connect() as watcher:
            until(lambda: watcher.execute(waits).fetchone()[0] == 1)
        refused = access.get("/accounting")
        slow.join()
    assert problem(refused, 429, "too-many")
    assert int(refused.headers["retry-after"]) > 0
    assert problem(responses[0], 504, "too-slow")
    with database.connect() as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'access'")
    assert access.get("/sensors").status_code == 200


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_token_changes_apply_without_a_restart(access):
    """A new token works immediately; with an unreadable file every request is refused and the server continues."""
    new_token = access.token("late", "read")
    assert access.client.get("/sensors", headers={"Authorization": f"Bearer {new_token}"}).status_code == 200
    good = access.tokens_file.read_text()
    access.tokens_file.write_text("[")
    problem(access.get("/sensors"), 401, "no-token")
    access.wait_for("token file can't be read")
    access.tokens_file.write_text(good)
    assert access.get("/sensors").status_code == 200
    assert access.tokens["read"] not in json.dumps(access.lines)


def test_database_connections_are_read_only(database, monkeypatch):
    """A connection refuses writes even with a login that may write."""

    async def attempt() -> None:
        pool = Pool(1, 5)
        await pool.open()
        try:
            await pool.fetch(psycopg.sql.SQL("delete from telemetry.reading"))
        finally:
            await pool.close()

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        asyncio.run(attempt())


def run(broker: LocalBroker, folder: Path, **settings: str) -> subprocess.CompletedProcess:
    """Run ``access serve`` in ``folder``, where it fails to start."""
    environment = {**broker.environment(), "PATH": "", **settings}
    return subprocess.run(
        [PROGRAM, "serve"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_serve_without_tokens_fails(broker, tmp_path):
    """Without a token it ends with status 2 and the command that creates one."""
    process = run(broker, tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert "access token new NAME" in process.stderr
    assert "Traceback" not in process.stderr


def test_serve_on_a_used_port_fails(broker, tmp_path):
    """The message names the settings that select another port."""
    TokenFile(tmp_path / "access-tokens.json").add(issue("x", ["read"])[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        process = run(broker, tmp_path, ACCESS_PORT=port)
    assert process.returncode == 2
    assert f"ACCESS_ADDRESS, ACCESS_PORT: cannot listen on 127.0.0.1:{port}" in process.stderr
    assert "Traceback" not in process.stderr


class Proxy:
    """A TCP proxy that can be blocked: it then accepts connections and forwards nothing."""

    def __init__(self, host: str, port: int) -> None:
        self.open = threading.Event()
        self.open.set()
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                self.open.wait()
                target.sendall(data)

    def close(self) -> None:
        """Stop accepting connections and release blocked ones."""
        self.open.set()
        self._listener.close()


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_unresponsive_database(role, broker, serve):
    """A database that never answers delays neither posting nor /ready; reading gives an error."""
    proxy = Proxy(role["PGHOST"], int(role["PGPORT"]))
    settings = {"PGHOST": "127.0.0.1", "PGPORT": str(proxy.port), "PGSSLMODE": "disable", "ACCESS_QUERY_SECONDS": "0.1"}
    access = serve({**role, **settings, **broker.environment()})
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    proxy.open.clear()
    assert access.get("/ready", scope=None).status_code == 503
    assert access.post({"device_id": "x", "timestamp": TIME.format(0), "temperature": 2}).status_code == 202
    assert access.get("/sensors").status_code in (503, 504)
    proxy.open.set()
    until(lambda: access.get("/sensors").status_code == 200)
    proxy.close()
