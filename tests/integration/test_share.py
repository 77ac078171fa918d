"""Collectors that share the load: one that is killed or frozen leaves nothing behind and holds nothing up."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from fix_collector import until
from fix_publish import Publisher
from psycopg import errors

from collector.writer import Writer
from simulator.broker import executable

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

    def flow_until(self, true, seconds: float) -> float:
        """Publish a hundred readings each tenth of a second until ``true()``; return after how many seconds it was."""
        begun = time.monotonic()
        while not true():
            assert time.monotonic() - begun < seconds, "it took too long"
            self.publish(100)
            time.sleep(0.1)
        return time.monotonic() - begun


@pytest.fixture
def group(database, broker, collectors, unique):
    """Start three collectors on mosquitto that share what is published."""
    found = Group(broker, collectors, unique)
    yield found
    found.publisher.close()


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_member_is_inherited(database, group, fate):
    """One of three is killed, or frozen, under load: another takes over its session; every reading is there once."""
    lost = group.members["b"]
    with database.connect() as connection:
        group.publish(2_000)
        until(lambda: group.all_stored(connection), what="the three of them don't collect")
        lost.process.send_signal(fate)
        rest = [group.members[name] for name in "ac"]

        def taken() -> bool:
            return any(line["event"] == "taken over" for one in rest for line in one.lines)

        group.flow_until(taken, 3 * SECONDS_TO_MOVE)
        # From here on nothing goes to the lost one: what is published is stored at once, without anybody's help.
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="readings wait for the one that is lost")
        if fate == signal.SIGSTOP:
            lost.process.send_signal(signal.SIGCONT)
            lost.wait_for("subscribed", count=2)
            group.publish(1_000)
            until(lambda: group.all_stored(connection), what="the one that is back loses readings")
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)
        total = connection.execute("select count(*), sum(value) from telemetry.reading").fetchone()
        assert total == (group.published, sum(range(group.published)))
    for one in [*rest, *([lost] if fate == signal.SIGSTOP else [])]:
        assert one.stop() == 0


def test_a_member_under_another_name_inherits(database, group):
    """All are killed, and one starts under a new name, as in a new container: it takes what the three sessions hold."""
    with database.connect() as connection:
        group.publish(1_000)
        until(lambda: group.all_stored(connection), what="the three of them don't collect")
        for one in group.members.values():
            one.kill()
        group.publish(3_000)
        until(lambda: len(group.publisher.acknowledged) == group.published, what="the broker does not acknowledge")
        new = group.start(f"{group.topic}-new")
        new.wait_for("taken over", count=3)
        until(lambda: group.all_stored(connection), what="readings wait in sessions that nobody has")
        assert connection.execute("select balanced from telemetry.accounting").fetchone() == (True,)
    assert new.stop() == 0


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
