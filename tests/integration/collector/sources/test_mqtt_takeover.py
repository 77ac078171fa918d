"""Failover in a share group: a killed or frozen collector loses no message and blocks no other."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from fix_collector import until
from fix_publish import Publisher
from psycopg import errors

from collector.store.writer import Writer
from local_services.broker import BrokerSettings, LocalBroker, executable

pytestmark = [
    pytest.mark.skipif(executable("mosquitto") is None, reason="mosquitto is not installed: no shared subscriptions"),
    # These tests are about collectors and broker: one edition of the database is enough.
    pytest.mark.parametrize("edition", ["postgresql"]),
]

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS_TO_MOVE = 10


def readings(topic: str, first: int, count: int):
    """Yield (number, topic, payload) of ``count`` readings with different times."""
    for number in range(first, first + count):
        instant = (BEGIN + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
        yield number, f"{topic}/t{number % 4}", json.dumps({"timestamp": instant, "temperature": number}).encode()


class Group:
    """Three collectors, a publisher and the stored readings."""

    def __init__(self, broker, collectors, topic) -> None:
        self.topic, self.broker, self.collectors = topic, broker, collectors
        self.members = {name: self.start(f"{topic}-{name}") for name in "abc"}
        for member in self.members.values():
            member.wait_for("subscribed", timeout=60)
        self.publisher = Publisher(broker.environment())
        self.published = 0

    def start(self, name: str):
        """Start a collector of the group."""
        return self.collectors.start(
            self.broker.environment(), subscribed=False, COLLECTOR_CLIENT_ID=name, COLLECTOR_SHARE_GROUP=self.topic
        )

    def publish(self, count: int) -> None:
        """Publish ``count`` further readings."""
        self.publisher.send(readings(self.topic, self.published, count))
        self.published += count

    def all_stored(self, connection) -> bool:
        """Return whether every reading is stored."""
        return connection.execute("select count(*) from telemetry.reading").fetchone() == (self.published,)

    def check(self, connection) -> None:
        """Wait until every reading is stored; check that each is stored once and the accounts balance."""
        until(lambda: self.all_stored(connection), what="readings are missing")
        total = connection.execute("select count(*), sum(value) from telemetry.reading").fetchone()
        assert total == (self.published, sum(range(self.published)))
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)

    def taken_over(self) -> bool:
        """Return whether a member has taken over the session of another."""
        return any(line["event"] == "taken over" for member in self.members.values() for line in member.lines)

    def flow_until(self, true, seconds: float) -> float:
        """Publish a thousand readings per second until ``true()``; return the seconds that took."""
        begun = time.monotonic()
        while not true():
            assert time.monotonic() - begun < seconds, "it took too long"
            self.publish(100)
            time.sleep(0.1)
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Start a mosquitto with a small window, so that most messages of a session wait in its queue."""
    settings = BrokerSettings(max_inflight=100)
    with LocalBroker(tmp_path_factory.mktemp("broker"), "mosquitto", settings=settings) as running:
        yield running


@pytest.fixture
def group(database, broker, collectors, unique):
    """Start three collectors of a share group on mosquitto."""
    group = Group(broker, collectors, unique)
    yield group
    group.publisher.close()


def test_takeover_of_killed_members(database, group):
    """One member is killed under load, then all, and a new one starts: every reading is stored once."""
    with database.connect() as connection:
        group.publish(2_000)
        until(lambda: group.all_stored(connection), what="the three of them don't collect")
        group.members.pop("b").kill()
        group.flow_until(group.taken_over, 3 * SECONDS_TO_MOVE)
        # From here on the broker sends nothing to the lost member: all readings are stored directly.
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="readings wait for the lost member")
        for member in group.members.values():
            member.kill()
        group.publish(1_000)
        until(lambda: len(group.publisher.acknowledged) == group.published, what="the broker does not acknowledge")
        new = group.start(f"{group.topic}-new")
        new.wait_for("taken over", count=2)
        group.check(connection)
    assert new.stop() == 0


def test_takeover_of_a_frozen_member(database, group):
    """A member is frozen under load and another takes over; when it continues it takes part again."""
    frozen = group.members.pop("b")
    with database.connect() as connection:
        group.publish(2_000)
        frozen.process.send_signal(signal.SIGSTOP)
        group.flow_until(group.taken_over, 3 * SECONDS_TO_MOVE)
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="readings wait for the frozen member")
        frozen.process.send_signal(signal.SIGCONT)
        frozen.wait_for("subscribed", count=2)
        group.publish(1_000)
        group.check(connection)
    for member in (frozen, *group.members.values()):
        assert member.stop() == 0


def test_locks_of_a_frozen_writer_are_released(database):
    """The database ends a writer that is idle in a transaction, so that its successor can write the same rows."""
    birth = "insert into telemetry.birth (topic, received_at, payload) values ('t', now(), '')"
    writer = Writer("mqtt", "frozen")
    writer.connection().execute("begin")
    writer.connection().execute(birth)
    with database.connect() as successor:
        successor.execute("set statement_timeout = '20s'")
        successor.execute(birth)  # waits for the lock on the same key
    with pytest.raises(errors.IdleInTransactionSessionTimeout):
        writer.connection().execute("commit")
    writer.close()
