"""Metrics and health of ``collector run``, ``archive`` and ``forward``, asked for over HTTP as Prometheus does."""

import socket
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from fix_collector import until
from fix_publish import Publisher
from prometheus_client.openmetrics.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def publish(broker, *messages: tuple[str, bytes]) -> None:
    """Publish messages; return when the broker has them."""
    publisher = Publisher(broker.environment())
    publisher.send((number, topic, payload) for number, (topic, payload) in enumerate(messages))
    until(lambda: not publisher.waiting)
    publisher.close()


class Asked:
    """What one program answers."""

    def __init__(self, running) -> None:
        self._port = running.wait_for("serving metrics")["port"]

    def get(self, path: str) -> tuple[int, str, str]:
        """Return status, kind and text of an answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", headers={"Accept": OPENMETRICS})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    def samples(self) -> dict[str, float]:
        """Return every sample, labels as ``name{label}``."""
        status, kind, text = self.get("/metrics")
        assert status == 200
        assert kind.startswith("application/openmetrics-text")
        return {
            one.name + "".join(f"{{{value}}}" for value in one.labels.values()): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }


def test_a_collector_counts_what_it_commits(database, broker, collectors, unique):
    """Messages and readings are counted by outcome once they are committed, with their writes and delays."""
    environment = {**database.environment, **broker.environment()}
    asked = Asked(collectors.start(environment, COLLECTOR_METRICS_PORT="0"))
    topic = f"{unique}/t0"
    good = b'{"timestamp": "2026-03-01T12:00:00Z", "temperature": 1}'
    publish(broker, (topic, good), (topic, good), (topic, b"nonsense"), (topic, b""))
    until(lambda: asked.samples().get("collector_batch_messages_sum") == 4)
    found = asked.samples()
    assert found["collector_messages_total{decoded}"] == 2
    assert found["collector_messages_total{ignored}"] == found["collector_messages_total{quarantined}"] == 1
    assert found["collector_readings_total{stored}"] == found["collector_readings_total{duplicate}"] == 1
    assert found["collector_batch_messages_sum"] == 4
    assert found["collector_write_seconds_count"] == found["collector_delay_seconds_count"] >= 1
    assert found["collector_connected"] == found["collector_connections"] == 1
    assert found["collector_unacknowledged_messages"] == found["collector_oldest_unacknowledged_seconds"] == 0
    assert asked.get("/ready")[::2] == (200, "ready\n")
    assert asked.get("/live")[::2] == (200, "alive\n")
    assert asked.get("/secrets")[0] == 404


@pytest.mark.parametrize("edition", ["postgresql"])
def test_a_collector_without_a_database_lives_and_is_not_ready(database, broker, collectors):
    """Before the database has answered a collector is alive and not ready, and says what it waits for."""
    environment = {**database.environment, **broker.environment()}
    name = database.environment["PGDATABASE"]
    with replace(database, environment={**database.environment, "PGDATABASE": "postgres"}).connect() as admin:
        admin.execute(f"alter database {name} allow_connections false".encode())
        asked = Asked(collectors.start(environment, subscribed=False, COLLECTOR_METRICS_PORT="0"))
        assert asked.get("/live")[0] == 200
        status, _, said = asked.get("/ready")
        assert (status, said) == (503, "the database has not answered yet; not connected to the source\n")
        admin.execute(f"alter database {name} allow_connections true".encode())
    until(lambda: asked.get("/ready")[0] == 200)


def test_nothing_listens_unasked(collectors, broker):
    """Without a port there is no endpoint, and a port that is taken is one clear message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        running = collectors.start(broker.environment(), subscribed=False, COLLECTOR_METRICS_PORT=port)
        assert running.process.wait(30) == 2
    said = " ".join(line["event"] for line in running.lines)
    assert f"COLLECTOR_METRICS_PORT={port}: cannot listen on 127.0.0.1:{port}" in said
    quiet = collectors.start(broker.environment(), subscribed=False, COLLECTOR_CLIENT_ID="quiet")
    quiet.wait_for("waiting for the database")
    assert not any(line["event"] == "serving metrics" for line in quiet.lines)


def test_an_archiver_counts_what_is_safe(broker, collectors, unique, tmp_path):
    """Archived messages are counted once they are safe; the files that wait to be finished are shown."""
    settings = {"ARCHIVE_DIRECTORY": str(tmp_path / "archive"), "ARCHIVE_METRICS_PORT": "0"}
    asked = Asked(collectors.start(broker.environment(), "archive", **settings))
    publish(broker, (f"{unique}/t0", b"1"), (f"{unique}/t1", b"2"))
    until(lambda: asked.samples().get("archive_messages_total{archived}") == 2)
    found = asked.samples()
    assert found["archive_unfinished_files"] == found["archive_unacknowledged_messages"] == 0
    assert 0 < found["archive_disk_free_ratio"] <= 1
    assert asked.get("/ready")[0] == 200


def test_a_forwarder_counts_what_kafka_has(own_kafka, broker, collectors, unique):
    """Messages are counted once Kafka has them; while it takes nothing the forwarder lives and is not ready."""
    environment = {**broker.environment(), **own_kafka.environment()}
    asked = Asked(collectors.start(environment, "forward", KAFKA_METRICS_PORT="0"))
    publish(broker, (f"{unique}/t0", b"1"), (f"{unique}/t1", b"2"))
    until(lambda: asked.samples().get("forward_messages") == 2)
    found = asked.samples()
    assert found["forward_connected"] == found["forward_connections"] == 1
    assert found["forward_unacknowledged_messages"] == found["forward_too_large_messages"] == 0
    assert asked.get("/ready")[0] == 200
    own_kafka.cluster.go_away()
    publish(broker, (f"{unique}/t0", b"3"))
    until(lambda: asked.get("/ready")[0] == 503)
    assert asked.get("/ready")[2].startswith("Kafka has acknowledged nothing for ")
    assert asked.get("/live")[0] == 200
    own_kafka.cluster.come_back()
    until(lambda: asked.get("/ready")[0] == 200)
    assert asked.samples()["forward_messages"] == 3
