"""Killing any process at any moment loses no reading: ``kill -9`` during loads of 100,000 readings."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from fix_collector import until
from fix_publish import Publisher

from local_services.broker import BrokerSettings, LocalBroker, executable, sqlite_plugin
from timescale.migrate import migrate

pytestmark = pytest.mark.kill

ROUNDS = 10
MESSAGES, READINGS = 2_000, 50
LOAD = MESSAGES * READINGS
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
CLOCK = [f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}" for second in range(LOAD // 4)]


def load(topic: str, number: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield the messages of load ``number``: 100,000 readings of four sensors, one per second."""
    day = (BEGIN + timedelta(days=number)).date()
    for index in range(MESSAGES):
        block, sensor = divmod(index, 4)
        times = CLOCK[block * READINGS : (block + 1) * READINGS]
        items = (f'{{"timestamp": "{day}T{time}Z", "temperature": {k}.25}}' for k, time in enumerate(times))
        yield index, f"{topic}/t{sensor}", f"[{','.join(items)}]".encode()


class Rig:
    """A durable database, a durable broker and a collector, with the stored readings."""

    def __init__(self, server, broker, collectors, topic) -> None:
        self.server, self.broker, self.collectors, self.topic = server, broker, collectors, topic
        self.collector = collectors.start(broker.environment())

    def stored(self) -> int:
        """Return the number of stored readings in the accounts; 0 while the database is away."""
        try:
            with self.connect() as connection:
                return connection.execute("select stored from telemetry.accounting").fetchone()[0]
        except psycopg.OperationalError:
            return 0

    def connect(self) -> psycopg.Connection:
        """Open a connection."""
        e = self.server.environment()
        return psycopg.connect(
            host=e["PGHOST"], port=e["PGPORT"], user=e["PGUSER"], password=e["PGPASSWORD"], dbname=e["PGDATABASE"],
            autocommit=True,
        )  # fmt: skip

    def kill_collector(self) -> None:
        """Kill the collector and start another."""
        self.collector.kill()
        self.collector = self.collectors.start(self.broker.environment())

    def kill_database(self) -> None:
        """Kill the server with all its processes and start it again on the same port."""
        self.server.kill()
        self.server.start()

    def kill_broker(self) -> None:
        """Kill the broker and start it again on the same port."""
        self.broker.kill()
        self.broker.start()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["collector", "database", "broker"])
def test_kill(durable_server, collectors, tmp_path, unique, victim):
    """After ten kills of the victim, each during a load, every acknowledged reading is stored once."""
    mosquitto = executable("mosquitto")
    kind = "auto" if victim != "broker" or (mosquitto and sqlite_plugin(mosquitto)) else "nats"
    if executable("nats") is None and kind == "nats":
        pytest.skip("no broker here keeps what it acknowledged: install nats-server, or mosquitto 2.1 with SQLite")
    chance = random.Random(7)
    migrate()
    # nats sends unacknowledged messages again after this time; with its default every kill would wait longer.
    with LocalBroker(tmp_path / "broker", kind, settings=BrokerSettings(ack_wait_seconds=3)) as broker:
        rig = Rig(durable_server, broker, collectors, unique)
        for number in range(ROUNDS):
            publisher = Publisher(broker.environment(), client_id=f"{unique}-publisher-{number}")
            messages = list(load(unique, number))
            cut = chance.randrange(MESSAGES // 4, MESSAGES * 3 // 4)
            publisher.send(messages[:cut])
            until(lambda number=number: rig.stored() > number * LOAD, what="the load did not begin")
            publisher.send(messages[cut:])  # paho has sent few of these before the kill
            assert publisher.waiting, "the load was over before the kill"
            getattr(rig, f"kill_{victim}")()
            until(lambda publisher=publisher: len(publisher.acknowledged) == MESSAGES, what="the broker keeps refusing")
            publisher.close()
            until(lambda number=number: rig.stored() >= (number + 1) * LOAD, what="readings are missing")
        with rig.connect() as connection:
            total = connection.execute("select count(*), sum(value) from telemetry.reading").fetchone()
            assert total == (ROUNDS * LOAD, ROUNDS * MESSAGES * sum(k + 0.25 for k in range(READINGS)))
            assert connection.execute("select balanced, stored from telemetry.accounting").fetchone() == (
                True,
                ROUNDS * LOAD,
            )
            if durable_server.edition == "timescaledb":
                connection.execute("call telemetry.refresh_rollups()")
            for level in ("1m", "1h", "1d"):
                query = f"select sum(sample_count) from telemetry.reading_{level}"
                assert connection.execute(query).fetchone() == (ROUNDS * LOAD,)
        assert rig.collector.stop() == 0
