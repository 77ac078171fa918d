"""Readings that are posted are stored by the collector; and what is answered while database or broker are away."""

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
from local_services.broker import LocalBroker, free_port

TIME = "2026-03-01T12:00:0{}Z"


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[[dict[str, str]], Access]]:
    """Start servers with the settings given; they are ended."""
    with ExitStack() as stack:

        def start(environment: dict[str, str]) -> Access:
            server = Access(environment, tmp_path)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def role(database) -> Iterator[dict[str, str]]:
    """A login that may do what the interface may."""
    with login(database) as environment:
        yield environment


def test_posted_readings_are_stored(database, role, broker, collectors, serve, unique):
    """Both forms, one, a list and lines, go through broker and collector; GET has them, and the accounts balance."""
    collectors.start({**database.environment, **broker.environment()})
    access = serve({**role, **broker.environment(), "ACCESS_PUBLISH_TOPIC": unique + "/{device_id}"})
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    wide = [{"device_id": "t0", "timestamp": TIME.format(n), "temperature": 20 + n, "tag": "x"} for n in range(4)]
    narrow = [{"device_id": "t1", "timestamp": TIME.format(n), "sensor": "humidity", "value": 50.5} for n in range(3)]
    answers = [
        access.post(wide[0]),
        access.post([*wide[1:3], *narrow[:2]]),
        access.post(
            b"\n".join(json.dumps(one).encode() for one in [wide[3], narrow[2]]), content_type="application/x-ndjson"
        ),
        access.post(wide[0]),
    ]
    assert [(one.status_code, one.json()["accepted"]) for one in answers] == [(202, 1), (202, 4), (202, 2), (202, 1)]
    until(lambda: access.get("/accounting").json()["readings"] == 8)
    found = access.items("/readings", from_="2026-03-01", to="2026-03-02")
    assert [(one["sensor_id"], one["quantity"], one["time"], one["value"]) for one in found] == [
        *(("t0", "temperature", TIME.format(n), 20.0 + n) for n in range(4)),
        *(("t1", "humidity", TIME.format(n), 50.5) for n in range(3)),
    ]
    accounts = access.get("/accounting").json()
    assert (accounts["stored"], accounts["duplicate"], accounts["balanced"]) == (7, 1, True)
    metrics = access.get("/metrics", scope="metrics").text
    assert 'access_readings_total{outcome="accepted"} 8.0' in metrics


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_bodies_that_are_refused(database, role, broker, serve):
    """Too large, no JSON, compressed, of no known type, with mistakes, of a device elsewhere: nothing goes out."""
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
    found = problem(access.post([good, good | {"temperature": "20"}]), 422, "invalid")
    assert found["errors"] == [{"pointer": "#/1/temperature", "detail": "a number, or true or false, is due"}]
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
def test_the_broker_goes_and_comes_back(role, serve, tmp_path_factory):
    """While it is away posting is 503 with what was accepted, and reading goes on; back, all goes on by itself."""
    with LocalBroker(tmp_path_factory.mktemp("own")) as own:
        access = serve({**role, **own.environment()})
        until(lambda: access.get("/ready", scope=None).status_code == 200)
        reading = {"device_id": "t0", "timestamp": TIME.format(0), "temperature": 20}
        assert access.post(reading).status_code == 202
        own.kill()
        until(lambda: access.post(reading).status_code == 503)
        refused = access.post([reading, reading])
        assert problem(refused, 503, "broker-away")["accepted"] == []
        assert int(refused.headers["retry-after"]) > 0
        assert "broker" in access.get("/ready", scope=None).text
        assert access.get("/sensors").status_code == 200
        assert access.get("/live", scope=None).status_code == 200
        own.start()
        until(lambda: access.post(reading).status_code == 202)
        assert access.get("/ready", scope=None).status_code == 200


def test_posting_goes_on_without_the_database(broker, serve):
    """Where it does not answer, reading is 503 with when to try again; what is posted waits with the broker."""
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
    """A query that takes too long is 504; more of a token at once than allowed are 429; connections are renewed."""
    access = serve({**role, **broker.environment(), "ACCESS_QUERY_SECONDS": "3", "ACCESS_REQUESTS_PER_TOKEN": "1"})
    assert access.get("/sensors").status_code == 200
    answers = []
    with database.connect(autocommit=False) as connection:
        connection.execute("lock table telemetry.sensor in access exclusive mode")
        slow = threading.Thread(target=lambda: answers.append(access.get("/sensors")))
        slow.start()
        # Only once the slow one waits: whoever asks before it would be the one that is allowed.
        waits = "select count(*) from pg_stat_activity where application_name = 'access' and wait_event_type = 'Lock'"
        with database.connect() as watcher:
            until(lambda: watcher.execute(waits).fetchone()[0] == 1)
        refused = access.get("/accounting")
        slow.join()
    assert problem(refused, 429, "too-many")
    assert int(refused.headers["retry-after"]) > 0
    assert problem(answers[0], 504, "too-slow")
    with database.connect() as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'access'")
    assert access.get("/sensors").status_code == 200


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_tokens_change_while_it_runs(access):
    """A token made now lets in now; a file that can't be read lets nobody in, and the server says so and goes on."""
    made = access.token("late", "read")
    assert access.client.get("/sensors", headers={"Authorization": f"Bearer {made}"}).status_code == 200
    good = access.tokens_file.read_text()
    access.tokens_file.write_text("[")
    problem(access.get("/sensors"), 401, "no-token")
    access.wait_for("tokens can't be read")
    access.tokens_file.write_text(good)
    assert access.get("/sensors").status_code == 200
    assert access.tokens["read"] not in json.dumps(access.lines)


def test_what_reads_can_not_write(database, monkeypatch):
    """Its connections are read-only, whoever's they are."""

    async def attempt() -> None:
        pool = Pool(1, 5)
        await pool.open()
        try:
            await pool.rows(psycopg.sql.SQL("delete from telemetry.reading"))
        finally:
            await pool.close()

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        asyncio.run(attempt())


def run(broker: LocalBroker, folder: Path, **more: str) -> subprocess.CompletedProcess:
    """Run ``access serve`` in ``folder`` where it can't begin."""
    environment = {**broker.environment(), "PATH": "", **more}
    return subprocess.run(
        [PROGRAM, "serve"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_no_token_no_server(broker, tmp_path):
    """Without a token there is nobody to serve: it ends with status 2 and says how to make one."""
    done = run(broker, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "access token new NAME" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(broker, tmp_path):
    """It is said, with the settings that choose another."""
    TokenFile(tmp_path / "access-tokens.json").add(issue("x", ["read"])[1])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(broker, tmp_path, ACCESS_PORT=port)
    assert done.returncode == 2
    assert f"ACCESS_ADDRESS, ACCESS_PORT: nothing can be served on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


class Passage:
    """A way to a server that can be blocked: nothing is refused then, and nothing arrives."""

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
                one, _ = self._listener.accept()
                other = socket.create_connection(self._server)
                for ends in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                self.open.wait()
                target.sendall(data)

    def close(self) -> None:
        """End it."""
        self.open.set()
        self._listener.close()


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_a_database_that_hangs(role, broker, serve):
    """One that neither answers nor refuses holds up neither posting nor /ready, readers are told; then all goes on."""
    passage = Passage(role["PGHOST"], int(role["PGPORT"]))
    told = {"PGHOST": "127.0.0.1", "PGPORT": str(passage.port), "PGSSLMODE": "disable", "ACCESS_QUERY_SECONDS": "0.1"}
    access = serve({**role, **told, **broker.environment()})
    until(lambda: access.get("/ready", scope=None).status_code == 200)
    passage.open.clear()
    assert access.get("/ready", scope=None).status_code == 503
    assert access.post({"device_id": "x", "timestamp": TIME.format(0), "temperature": 2}).status_code == 202
    assert access.get("/sensors").status_code in (503, 504)
    passage.open.set()
    until(lambda: access.get("/sensors").status_code == 200)
    passage.close()
