"""Collectors that share the load: one that is killed or frozen leaves nothing behind and holds nothing up."""

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
    # What is held here is between collectors and broker: one edition of the database is enough.
    pytest.mark.parametrize("edition", ["postgresql"]),
]

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS_TO_MOVE = 10


def readings(topic: str, first: int, count: int):
    """Yield (number, topic, payload) of ``count`` readings, each of another instant."""
    for number in range(first, first + count):
        instant = (BEGIN + timedelta(milliseconds=number)).isoformat(timespec="milliseconds")
        yield number, f"{topic}/t{number % 4}", json.dumps({"timestamp": instant, "temperature": number}).encode()


class Group:
    """Three collectors, a publisher, and what has come of it."""

    def __init__(self, broker, collectors, topic) -> None:
        self.topic, self.broker, self.collectors = topic, broker, collectors
        self.members = {name: self.start(f"{topic}-{name}") for name in "abc"}
        for one in self.members.values():
            one.wait_for("subscribed", timeout=60)
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
        """Wait until every reading is stored; fail where one is there twice or the accounts don't balance."""
        until(lambda: self.all_stored(connection), what="readings are missing")
        total = connection.execute("select count(*), sum(value) from telemetry.reading").fetchone()
        assert total == (self.published, sum(range(self.published)))
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)

    def inherited(self) -> bool:
        """Return whether one of the members has taken over from another."""
        return any(line["event"] == "taken over" for one in self.members.values() for line in one.lines)

    def flow_until(self, true, seconds: float) -> float:
        """Publish a hundred readings each tenth of a second until ``true()``; return after how many seconds it was."""
        begun = time.monotonic()
        while not true():
            assert time.monotonic() - begun < seconds, "it took too long"
            self.publish(100)
            time.sleep(0.1)
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Start a mosquitto that hands out so few messages at a time that most of a session waits in its queue."""
    settings = BrokerSettings(max_inflight=100)
    with LocalBroker(tmp_path_factory.mktemp("broker"), "mosquitto", settings=settings) as running:
        yield running


@pytest.fixture
def group(database, broker, collectors, unique):
    """Start three collectors on mosquitto that share what is published."""
    found = Group(broker, collectors, unique)
    yield found
    found.publisher.close()


def test_killed_members_are_inherited(database, group):
    """One is killed under load, then the rest, and one starts under a new name: every reading is there, once."""
    with database.connect() as connection:
        group.publish(2_000)
        until(lambda: group.all_stored(connection), what="the three of them don't collect")
        group.members.pop("b").kill()
        group.flow_until(group.inherited, 3 * SECONDS_TO_MOVE)
        # From here on nothing goes to the lost one: what is published is stored without anybody's help.
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="readings wait for the one that is lost")
        for one in group.members.values():
            one.kill()
        group.publish(1_000)
        until(lambda: len(group.publisher.acknowledged) == group.published, what="the broker does not acknowledge")
        new = group.start(f"{group.topic}-new")
        new.wait_for("taken over", count=2)
        group.check(connection)
    assert new.stop() == 0


def test_a_frozen_member_is_inherited(database, group):
    """One is frozen under load, and another takes over from it; once it is thawed it takes part again."""
    frozen = group.members.pop("b")
    with database.connect() as connection:
        group.publish(2_000)
        frozen.process.send_signal(signal.SIGSTOP)
        group.flow_until(group.inherited, 3 * SECONDS_TO_MOVE)
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="readings wait for the one that is frozen")
        frozen.process.send_signal(signal.SIGCONT)
        frozen.wait_for("subscribed", count=2)
        group.publish(1_000)
        group.check(connection)
    for one in (frozen, *group.members.values()):
        assert one.stop() == 0


def test_a_writer_that_is_frozen_lets_go(database):
    """The database ends a writer that falls silent in a transaction, so that an heir can write what it had in hand."""
    birth = "insert into telemetry.birth (topic, received_at, payload) values ('t', now(), '')"
    writer = Writer("mqtt", "frozen")
    writer.connection().execute("begin")
    writer.connection().execute(birth)
    with database.connect() as heir:
        heir.execute("set statement_timeout = '20s'")
        heir.execute(birth)  # waits for the same key until it is free
    with pytest.raises(errors.IdleInTransactionSessionTimeout):
        writer.connection().execute("commit")
    writer.close()
