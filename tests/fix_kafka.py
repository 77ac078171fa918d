"""Fixtures: librdkafka's mock cluster; functions that confluent-kafka does not expose are called through ctypes.

It speaks Kafka's protocol on 127.0.0.1 from inside this process. It keeps 5 MB or 100,000 records a partition, has no
logins and no admin calls (topics are made through its own interface), answers a stopped broker's clients with a
closed connection, and knows both the eager and the cooperative way of rebalancing a classic group; each rebalance
takes it a second less than the session timeout.
"""

import ctypes
import importlib.util
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

PARTITIONS = 4


def _library() -> ctypes.CDLL:
    """Return librdkafka from confluent-kafka's wheel, which is loaded already."""
    package = importlib.util.find_spec("confluent_kafka")
    assert package is not None
    assert package.origin is not None
    paths = sorted((Path(package.origin).parents[1] / "confluent_kafka.libs").glob("librdkafka*"))
    library = ctypes.CDLL(str(paths[0]))
    for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new", "rd_kafka_conf_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class MockKafka:
    """A cluster of one broker."""

    def __init__(self) -> None:
        library = self._library = _library()
        text = ctypes.create_string_buffer(512)
        configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
        library.rd_kafka_conf_set(configuration, b"log_level", b"0", text, len(text))
        self._client = ctypes.c_void_p(library.rd_kafka_new(0, configuration, text, len(text)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._client, 1))
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 200)
        self.servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create(self, topic: str, partitions: int = PARTITIONS) -> None:
        """Make a topic."""
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    def refuse(self, topic: str, error: int) -> None:
        """Answer every request for a topic with this error of Kafka's protocol."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), error)

    def fail(self, api_key: int, *errors: int) -> None:
        """Answer the next requests of this kind with these errors, in order."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(api_key), ctypes.c_size_t(len(errors)), array
        )

    def answer_after(self, milliseconds: int) -> None:
        """Delay every answer by ``milliseconds``."""
        self._library.rd_kafka_mock_broker_set_rtt(self._cluster, 1, milliseconds)

    def go_away(self) -> None:
        """Close all connections and refuse new ones."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def come_back(self) -> None:
        """Accept connections again, with all records."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def close(self) -> None:
        """Stop the cluster."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


class KafkaTopic:
    """A topic of a cluster and a group to read it, for one test."""

    def __init__(self, cluster: MockKafka, *, create: bool = True) -> None:
        self.cluster = cluster
        self.name = f"t{secrets.token_hex(6)}"
        if create:
            cluster.create(self.name)
        self._producer = Producer({"bootstrap.servers": cluster.servers, "linger.ms": 1})

    def environment(self, **more: str) -> dict[str, str]:
        """Return the settings of a collector that reads this topic or writes to it."""
        settings = {"KAFKA_BOOTSTRAP_SERVERS": self.cluster.servers, "KAFKA_TOPIC": self.name, "KAFKA_GROUP": self.name}
        return {**settings, "KAFKA_SESSION_SECONDS": "2", **more}

    def send(self, records: Iterable[tuple[str | bytes | None, bytes | None]], **more) -> None:
        """Send (key, value) to the topic; return when the cluster has them."""
        errors: list = []
        for key, value in records:
            self._producer.produce(
                self.name, value, key, on_delivery=lambda error, _: error and errors.append(error), **more
            )
        assert self._producer.flush(30) == 0
        assert errors == []

    def records(self, count: int) -> list:
        """Wait for ``count`` records on the topic and return them, each partition in order."""
        consumer = self._consumer("reader")
        consumer.assign([TopicPartition(self.name, number, 0) for number in range(PARTITIONS)])
        records: list = []
        for _ in range(300):
            records += [record for record in consumer.consume(1000, 0.1) if not record.error()]
            if len(records) >= count:
                break
        consumer.close()
        return records

    def size(self) -> int:
        """Return the number of records on the topic, including repeated ones."""
        consumer = self._consumer("reader")
        partitions = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
        ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions]
        consumer.close()
        return sum(ends)

    def committed(self) -> dict[int, int]:
        """Return the committed offset of each partition that has one."""
        consumer = self._consumer(self.name)
        partitions = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
        committed = consumer.committed(partitions, timeout=10)
        consumer.close()
        return {partition.partition: partition.offset for partition in committed if partition.offset >= 0}

    def _consumer(self, group: str) -> Consumer:
        return Consumer({"bootstrap.servers": self.cluster.servers, "group.id": group, "log_level": 0})


@pytest.fixture(scope="session")
def kafka_cluster() -> Iterator[MockKafka]:
    """Start a mock cluster that all tests share, each with its own topic."""
    cluster = MockKafka()
    yield cluster
    cluster.close()


@pytest.fixture
def kafka(kafka_cluster) -> KafkaTopic:
    """Make a topic of four partitions on the shared cluster."""
    return KafkaTopic(kafka_cluster)


@pytest.fixture
def own_kafka() -> Iterator[KafkaTopic]:
    """Make a topic on a separate cluster, which the test may stop."""
    cluster = MockKafka()
    yield KafkaTopic(cluster)
    cluster.close()
