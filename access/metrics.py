"""Prometheus metrics of the server; docs/monitoring.md lists them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder

from core.version import VERSION

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Metrics of one server. ``connected`` and ``connections_in_use`` are called on each scrape."""

    def __init__(self, connected: Callable[[], bool], connections_in_use: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        Info("sensor_warehouse_build", "Version of the product.", registry=self.registry).info({"version": VERSION})
        self._requests = Counter(
            "access_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "access_request_seconds",
            "Time from a request to the end of its response.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._readings = Counter("access_readings", "Readings posted.", ["outcome"], registry=self.registry)
        self._messages = Counter("access_messages", "Messages published.", ["outcome"], registry=self.registry)
        for outcome in ("accepted", "unacknowledged"):
            self._readings.labels(outcome)
            self._messages.labels(outcome)
        self._gauge("access_broker_connected", "1 while connected to the broker, else 0.", connected)
        self._gauge("access_database_connections", "Connections to the database in use.", connections_in_use)

    def _gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def record_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a completed response."""
        # Clients can invent methods; each would be a time series for ever.
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def record_published(self, readings: int, acknowledged: int, messages: int, messages_acknowledged: int) -> None:
        """Count posted readings, and those that the broker has acknowledged."""
        self._readings.labels("accepted").inc(acknowledged)
        self._readings.labels("unacknowledged").inc(readings - acknowledged)
        self._messages.labels("accepted").inc(messages_acknowledged)
        self._messages.labels("unacknowledged").inc(messages - messages_acknowledged)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type; OpenMetrics if ``accept`` allows it."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type
