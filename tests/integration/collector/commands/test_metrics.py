"""Metrics and health of ``collector run``, ``archive`` and ``forward`` over HTTP."""

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


class Answers:
    """The answers of one program."""

    def __init__(self, running) -> None:
        self._port = running.wait_for("serving metrics")["port"]

    def get(self, path: str) -> tuple[int, str, str]:
        """Return status, media type and text of an answer."""
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
            sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def test_collector_counts_commits(database, broker, collectors, unique):
    """Committed messages and readings are counted by outcome, with writes and delays."""
    environment = {**database.environment, **broker.environment()}
    answers = Answers(collectors.start(environment, COLLECTOR_METRICS_PORT="0"))
    topic = f"{unique}/t0"
    good = b'{"timestamp": "2026-03-01T12:00:00Z", "temperature": 1}'
    publish(broker, (topic, good), (topic, good), (topic, b"nonsense"), (topic, b""))
    until(lambda: answers.samples().get("collector_batch_messages_sum") == 4)
    samples = answers.samples()
    assert samples["collector_messages_total{decoded}"] == 2
    assert samples["collector_messages_total{ignored}"] == samples["collector_messages_total{quarantined}"] == 1
    assert samples["collector_readings_total{stored}"] == samples["collector_readings_total{duplicate}"] == 1
    assert samples["collector_batch_messages_sum"] == 4
    assert samples["collector_write_seconds_count"] == samples["collector_delay_seconds_count"] >= 1
    assert samples["collector_connected"] == samples["collector_connections"] == 1
    assert samples["collector_unacknowledged_messages"] == samples["collector_oldest_unacknowledged_seconds"] == 0
    assert answers.get("/ready")[::2] == (200, "ready\n")
    assert answers.get("/live")[::2] == (200, "alive\n")
    assert answers.get("/secrets")[0] == 404


@pytest.mark.parametrize("edition", ["postgresql"])
def test_collector_without_a_database_is_alive_and_not_ready(database, broker, collectors):
    """Before the database has answered a collector is alive and not ready, with the reasons."""
    environment = {**database.environment, **broker.environment()}
    name = database.environment["PGDATABASE"]
    with replace(database, environment={**database.environment, "PGDATABASE": "postgres"}).connect() as admin:
        admin.execute(f"alter database {name} allow_connections false".encode())
        answers = Answers(collectors.start(environment, subscribed=False, COLLECTOR_METRICS_PORT="0"))
        assert answers.get("/live")[0] == 200
        status, _, text = answers.get("/ready")
        assert (status, text) == (503, "the database has not answered yet; not connected to the source\n")
        admin.execute(f"alter database {name} allow_connections true".encode())
    until(lambda: answers.get("/ready")[0] == 200)


def test_no_endpoint_by_default(collectors, broker):
    """Without a port there is no endpoint; a port that is taken is an error."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        running = collectors.start(broker.environment(), subscribed=False, COLLECTOR_METRICS_PORT=port)
        assert running.process.wait(30) == 2
    output = " ".join(line["event"] for line in running.lines)
    assert f"COLLECTOR_METRICS_PORT={port}: cannot listen on 127.0.0.1:{port}" in output
    quiet = collectors.start(broker.environment(), subscribed=False, COLLECTOR_CLIENT_ID="quiet")
    quiet.wait_for("waiting for the database")
    assert not any(line["event"] == "serving metrics" for line in quiet.lines)


def test_archiver_counts_durable_messages(broker, collectors, unique, tmp_path):
    """Durable messages are counted; so are the files that wait to be finished."""
    settings = {"ARCHIVE_DIRECTORY": str(tmp_path / "archive"), "ARCHIVE_METRICS_PORT": "0"}
    answers = Answers(collectors.start(broker.environment(), "archive", **settings))
    publish(broker, (f"{unique}/t0", b"1"), (f"{unique}/t1", b"2"))
    until(lambda: answers.samples().get("archive_messages_total{archived}") == 2)
    samples = answers.samples()
    assert samples["archive_unfinished_files"] == samples["archive_unacknowledged_messages"] == 0
    assert 0 < samples["archive_disk_free_ratio"] <= 1
    assert answers.get("/ready")[0] == 200


def test_forwarder_counts_acknowledged_messages(own_kafka, broker, collectors, unique):
    """Messages are counted once Kafka has them; while it is away the forwarder is alive and not ready."""
    environment = {**broker.environment(), **own_kafka.environment()}
    answers = Answers(collectors.start(environment, "forward", KAFKA_METRICS_PORT="0"))
    publish(broker, (f"{unique}/t0", b"1"), (f"{unique}/t1", b"2"))
    until(lambda: answers.samples().get("forward_messages") == 2)
    samples = answers.samples()
    assert samples["forward_connected"] == samples["forward_connections"] == 1
    assert samples["forward_unacknowledged_messages"] == samples["forward_too_large_messages"] == 0
    assert answers.get("/ready")[0] == 200
    own_kafka.cluster.go_away()
    publish(broker, (f"{unique}/t0", b"3"))
    until(lambda: answers.get("/ready")[0] == 503)
    assert answers.get("/ready")[2].startswith("Kafka has acknowledged nothing for ")
    assert answers.get("/live")[0] == 200
    own_kafka.cluster.come_back()
    until(lambda: answers.get("/ready")[0] == 200)
    assert answers.samples()["forward_messages"] == 3
