"""Metrics and health of a running program over HTTP: /metrics for Prometheus, /live and /ready for its supervisor.

Names and units follow OpenMetrics (https://prometheus.io/docs/specs/om/open_metrics_spec/); docs/monitoring.md lists
them. Nothing is served unless a port is set; the default address is 127.0.0.1.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, make_wsgi_app

from collector.message import Message
from collector.store.batch import Accounts
from core.errors import SettingError
from core.version import VERSION

log = structlog.get_logger()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_MESSAGES = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000)

STALL_SECONDS = 10.0
"""A write that takes longer than this counts as stalled."""

_Answer = Callable[[str, list[tuple[str, str]]], Any]


class Gauges:
    """The gauges of one program."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Info("sensor_warehouse_build", "Version of the product.", registry=self.registry).info({"version": VERSION})

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is that of ``value()`` at each request."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def add_source(self, program: str, connections: Callable[[], int], connected: Callable[[], bool]) -> None:
        """Add the gauges of the connection to the broker."""
        self.gauge(f"{program}_connected", "1 while the source receives messages, else 0.", connected)
        self.gauge(f"{program}_connections", "Number of connections since the start.", connections)

    def add_arrival(self, program: str, is_known: Callable[[], bool], uncertain_seconds: Callable[[], float]) -> None:
        """Add the gauges of the time that messages may wait at the MQTT broker."""
        self.gauge(f"{program}_arrival_known", "1 while the waiting time at the broker is bounded, else 0.", is_known)
        self.gauge(
            f"{program}_arrival_uncertain_seconds",
            "How long a message that arrives now may have waited at the broker; 0 while that is not known.",
            uncertain_seconds,
        )


class Metrics(Gauges):
    """Gauges, counters and histograms of one program, ``collector`` or ``archive``; from any thread.

    ``uncommitted`` returns the number of messages that are read and not committed, and the arrival of the oldest of
    them (microseconds since 1970; None: there is none).
    """

    def __init__(self, program: str, uncommitted: Callable[[], tuple[int, int | None]]) -> None:
        super().__init__()
        self._messages = Counter(
            f"{program}_messages", "Messages whose transaction has committed.", ["outcome"], registry=self.registry
        )
        self._readings = Counter(
            f"{program}_readings", "Readings whose transaction has committed.", ["outcome"], registry=self.registry
        )
        self._batch = Histogram(
            f"{program}_batch_messages", "Messages of one write.", buckets=_MESSAGES, registry=self.registry
        )
        self._write = Histogram(
            f"{program}_write_seconds", "Duration of one write.", buckets=_SECONDS, registry=self.registry
        )
        self._delay = Histogram(
            f"{program}_delay_seconds",
            "From the arrival of a write's first message to its commit.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.gauge(
            f"{program}_unacknowledged_messages", "Messages read and not committed yet.", lambda: uncommitted()[0]
        )
        self.gauge(
            f"{program}_oldest_unacknowledged_seconds",
            "Waiting time of the oldest of them; 0: there is none.",
            lambda: _age(uncommitted()[1]),
        )

    def wrote(self, messages: Sequence[Message], seconds: float, accounts: Accounts | None = None) -> None:
        """Count a write that has committed ``messages``; without ``accounts`` they count as archived."""
        self._batch.observe(len(messages))
        self._write.observe(seconds)
        self._delay.observe(_age(messages[0].received))
        if accounts is None:
            self._messages.labels("archived").inc(len(messages))
            return
        for outcome, count in (
            ("decoded", accounts.decoded),
            ("ignored", accounts.ignored),
            ("quarantined", accounts.quarantined_messages),
        ):
            self._messages.labels(outcome).inc(count)
        for outcome, count in (
            ("stored", accounts.stored),
            ("duplicate", accounts.duplicate),
            ("replaced", accounts.replaced),
            ("quarantined", accounts.quarantined_readings),
        ):
            self._readings.labels(outcome).inc(count)


def stalled_for(since: float | None) -> str:
    """Return the duration of a stalled write that began at ``since`` (time.monotonic()); empty: none is stalled."""
    seconds = 0.0 if since is None else time.monotonic() - since
    return f"{seconds:.0f} s" if seconds > STALL_SECONDS else ""


def _age(received: int | None) -> float:
    return 0.0 if received is None else max(0.0, time.time() - received / 1e6)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: object) -> None:
        """Log no requests."""


class HealthEndpoint:
    """Serves ``metrics`` and readiness; a context manager. Without a port nothing is served.

    ``waiting_for`` returns the reasons why the program is not ready; empty: it is. Raises :class:`SettingError`, which
    names ``setting``, if the port can't be opened.
    """

    def __init__(
        self, metrics: Gauges, waiting_for: Callable[[], Sequence[str]], address: str, port: int | None, setting: str
    ) -> None:
        self._metrics = make_wsgi_app(metrics.registry)
        self._waiting_for = waiting_for
        self._server: WSGIServer | None = None
        if port is None:
            return
        try:
            self._server = make_server(address, port, self._answer, _Server, _Handler)
        except OSError as error:
            raise SettingError(
                f"{setting}={port}: cannot listen on {address}:{port}: {error.strerror}. Choose another port."
            ) from error
        log.info("serving metrics", address=address, port=self._server.server_port)

    def __enter__(self) -> Self:
        """Start serving."""
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, request: dict[str, Any], start: _Answer) -> Iterable[bytes]:
        path = request["PATH_INFO"]
        if path == "/metrics":
            return self._metrics(request, start)  # type: ignore[no-any-return]
        if path == "/live":
            return _text(start, "200 OK", "alive")
        if path == "/ready":
            reasons = self._waiting_for()
            return _text(start, "503 Service Unavailable" if reasons else "200 OK", "; ".join(reasons) or "ready")
        return _text(start, "404 Not Found", "there is /metrics, /live and /ready")


def _text(start: _Answer, status: str, text: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode() + b"\n"]
