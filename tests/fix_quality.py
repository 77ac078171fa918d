"""A warehouse whose scan passes, on each edition, copies of it to break, and sinks for mail and webhook."""

import base64
import io
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fix_database import Database, Servers, point_to
from fix_marts import Marts

SENSOR = """
insert into telemetry.sensor (sensor_id, type, site, area, topic, since, registered_at, updated_at)
values (%(sensor)s, 'thermostat', %(site)s, 'hall', 't/' || %(sensor)s, '2000-01-01', %(at)s, %(at)s)
on conflict do nothing
"""
SERIES = """
insert into telemetry.series
(sensor_id, quantity, unit, minimum, maximum, interval_seconds, kind, registered_at, updated_at)
values (%(sensor)s, %(quantity)s, 'Cel', %(minimum)s, %(maximum)s, %(interval)s, %(kind)s, %(at)s, %(at)s)
returning series_id
"""
READINGS = """
insert into telemetry.reading (time, series_id, value, received_at)
select
    time,
    %(series)s,
    {value},
    time + interval '0.2 seconds'
from (
    select
        time,
        (extract(epoch from now() - time) / %(interval)s)::bigint as n
    from generate_series(
        now() - %(begin)s::interval, now() - %(end)s::interval, %(interval)s * interval '1 second'
    ) as time
) as times
order by time
on conflict do nothing
"""
LIVE = """
insert into telemetry.live_series values (%(series)s, now() - %(end)s::interval)
on conflict (series_id) do update set last_arrived_at = greatest(live_series.last_arrived_at, excluded.last_arrived_at)
"""
# n is the number of intervals before now; two consecutive values always differ.
WAVE = "20 + 5 * sin(n / 20.0) + mod(n, 7) / 10.0"
INTAKE = """
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
select date_trunc('minute', time, 'UTC'), 'mqtt', 'test', count(*), count(*), count(*), count(*)
from telemetry.reading
group by 1
"""


@dataclass(frozen=True)
class Warehouse:
    """A database in which tests register series and insert readings, with times relative to now."""

    database: Database

    def execute(self, statement: str, **values: object) -> Any:
        """Run one statement and return its rows, if it has any."""
        with self.database.connect() as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else None

    def register(
        self, sensor: str, *, quantity: str = "temperature", interval: float = 600, minimum: float | None = -20,
        maximum: float | None = 60, kind: str = "number", site: str = "athens", age: str = "30 days",
    ) -> int:  # fmt: skip
        """Register a series that exists since ``age`` and return its series_id."""
        ((at,),) = self.execute("select now() - %(age)s::interval", age=age)
        self.execute(SENSOR, sensor=sensor, site=site, at=at)
        ((series,),) = self.execute(
            SERIES, sensor=sensor, quantity=quantity, interval=interval, minimum=minimum, maximum=maximum, kind=kind,
            at=at,
        )  # fmt: skip
        return int(series)

    def insert_readings(
        self, series: int, *, begin: str, end: str = "0 s", interval: float = 600, value: str = WAVE
    ) -> None:
        """Insert a reading every ``interval`` seconds, from ``begin`` ago to ``end`` ago; ``value`` is SQL over n.

        The series is live, as if they came from a broker.
        """
        self.execute(READINGS.format(value=value), series=series, begin=begin, end=end, interval=interval)
        self.execute(LIVE, series=series, end=end)

    def refresh(self) -> None:
        """Refresh aggregates and statistics."""
        self.database.refresh()
        self.execute("vacuum analyze")


@pytest.fixture
def warehouse(database: Database) -> Warehouse:
    """A migrated, empty database, on each edition."""
    return Warehouse(database)


@pytest.fixture(scope="module")
def green(marts: Marts) -> Marts:
    """Four thermostats of one site with ten days of readings and built marts; tests do not change it."""
    warehouse = Warehouse(marts.database)
    for number in range(4):
        series = warehouse.register(f"t{number}")
        warehouse.insert_readings(series, begin="10 days", value=f"{WAVE} + {number}")
    warehouse.execute(INTAKE)
    warehouse.refresh()
    marts.run()
    return marts


@pytest.fixture
def copy(green: Marts, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """A copy of the green warehouse for one test, which may break it."""
    database = servers.create(green.edition, template=green.database.environment["PGDATABASE"])
    point_to(monkeypatch, database.environment)
    yield Warehouse(database)
    servers.drop(database)


@pytest.fixture(scope="module")
def shared_copy_database(green: Marts, servers: Servers) -> Iterator[Warehouse]:
    """A copy of the green warehouse for all tests of a module, each of which breaks another part."""
    database = servers.create(green.edition, template=green.database.environment["PGDATABASE"])
    yield Warehouse(database)
    servers.drop(database)


@pytest.fixture
def shared_copy(shared_copy_database: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """The shared copy, with ``PG*`` set to it."""
    point_to(monkeypatch, shared_copy_database.database.environment)
    return shared_copy_database


@dataclass
class MailSink:
    """An SMTP server that stores the mails it receives; while ``refuse`` is set it rejects them.

    With ``certificate`` (and its key next to it) it offers STARTTLS; with ``login`` (user, password) it then requires
    authentication; ``secured`` counts the mails received over TLS.
    """

    port: int = 0
    refuse: bool = False
    certificate: Path | None = None
    login: tuple[str, str] | None = None
    mails: list[Message] = field(default_factory=list)
    secured: int = 0


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.sink: MailSink = self.server.sink  # type: ignore[attr-defined]
        self.secure = self.known = False
        self._say("220 sink")
        while line := self.rfile.readline():
            word, _, rest = line.decode().strip().partition(" ")
            answer = getattr(self, f"_{word.lower()}", None)
            self._say(answer(rest) if answer else "250 fine")
            if word == "QUIT":
                return
            if word == "STARTTLS":
                self._encrypt()

    def _ehlo(self, _: str) -> str:
        extensions = ["STARTTLS"] if self.sink.certificate and not self.secure else []
        extensions += ["AUTH PLAIN"] if self.sink.login and self.secure else []
        return "\r\n".join(f"250{'-' if left else ' '}{extension}" for left, extension in zip(
            range(len(extensions), -1, -1), ["sink", *extensions], strict=True
        ))  # fmt: skip

    def _starttls(self, _: str) -> str:
        return "220 go on"

    def finish(self) -> None:
        super().finish()
        if self.secure:
            self.request.close()  # the server closes only the original, unencrypted socket

    def _encrypt(self) -> None:
        assert self.sink.certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.sink.certificate, self.sink.certificate.with_suffix(".key"))
        try:
            self.request = context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, ConnectionError):  # the client does not trust the certificate and disconnects
            self.rfile = io.BytesIO()
            return
        self.rfile, self.secure = self.request.makefile("rb"), True

    def _auth(self, argument: str) -> str:
        _, user, password = base64.b64decode(argument.partition(" ")[2]).decode().split("\0")
        self.known = (user, password) == self.sink.login
        return "235 welcome" if self.known else "535 5.7.8 credentials invalid"

    def _mail(self, _: str) -> str:
        if self.sink.refuse:
            return "451 not now"
        return "530 5.7.0 authentication required" if self.sink.login and not self.known else "250 fine"

    def _data(self, _: str) -> str:
        self._say("354 go on")
        lines = list(iter(self.rfile.readline, b".\r\n"))
        self.sink.mails.append(message_from_bytes(b"".join(lines), policy=default))
        self.sink.secured += self.secure
        return "250 kept"

    def _quit(self, _: str) -> str:
        return "221 bye"

    def _say(self, line: str) -> None:
        self.request.sendall(line.encode() + b"\r\n")


@dataclass
class PostSink:
    """An HTTP server that stores the JSON posted to it; while ``refuse`` is set it answers 503."""

    port: int = 0
    refuse: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)


class _Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        sink: PostSink = self.server.sink  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not sink.refuse:
            sink.posts.append(json.loads(body))
        self.send_response(503 if sink.refuse else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def mail_sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailSink]:
    """A mail server on this machine."""
    sink = MailSink()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        yield from _serve(server, sink)
        server.shutdown()


@pytest.fixture
def post_sink() -> Iterator[PostSink]:
    """A webhook on this machine."""
    sink = PostSink()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Post) as server:
        yield from _serve(server, sink)
        server.shutdown()


@pytest.fixture
def notification_settings(mail_sink: MailSink, post_sink: PostSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that send notifications to both sinks."""
    settings = {
        "SMTP_HOST": "127.0.0.1", "SMTP_PORT": mail_sink.port, "SMTP_SECURITY": "none", "MAIL_FROM": "wh@example.org",
        "MAIL_TO": "you@example.org, me@example.org", "WEBHOOK_URL": f"http://127.0.0.1:{post_sink.port}/hook",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"QUALITY_{name}", str(value))


def _serve(server: Any, sink: Any) -> Iterator[Any]:
    sink.port, server.sink = server.server_address[1], sink
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield sink
