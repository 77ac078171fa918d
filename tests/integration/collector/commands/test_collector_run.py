"""``collector run`` against a real broker and a real database."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fix_collector import until
from fix_publish import Publisher

from timescale.migrate import migrate

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def reading(number: int, value: float = 20.0, **more) -> bytes:
    """Return a message of one temperature, ``number`` seconds after NOW."""
    return json.dumps(
        {"timestamp": (NOW + timedelta(seconds=number)).isoformat(), "temperature": value, **more}
    ).encode()


def counts(connection) -> dict:
    """Return the row of the accounts."""
    cursor = connection.execute("select * from telemetry.accounting")
    return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


@pytest.fixture
def publisher(broker):
    """Return a publisher to the broker of this session."""
    publisher = Publisher(broker.environment())
    yield publisher
    publisher.close()


def test_readings_arrive(database, broker, collectors, publisher, unique):
    """Published readings are in SQL, in the means and in balanced accounts."""
    collectors.start(broker.environment())
    publisher.send((n, f"{unique}/t{n % 4}", reading(n, n / 10)) for n in range(400))
    with database.connect() as connection:
        until(lambda: counts(connection)["readings"] == 400)
        assert connection.execute("select count(*), sum(value) from telemetry.reading").fetchone() == (400, 7980.0)
        means = connection.execute("select sum(sum_value), sum(sample_count) from telemetry.reading_1m").fetchone()
        assert means == pytest.approx((7980.0, 400))
        assert counts(connection)["balanced"]


def test_sigterm_drains(database, broker, collectors, publisher, unique):
    """After SIGTERM all messages read are committed and acknowledged: the next collector gets none of them again."""
    first = collectors.start(broker.environment())
    publisher.send((n, f"{unique}/t0", reading(n)) for n in range(300))
    with database.connect() as connection:
        until(lambda: counts(connection)["readings"] > 0)
        assert first.stop() == 0
        second = collectors.start(broker.environment())
        until(lambda: counts(connection)["stored"] == 300)
        assert second.stop() == 0
        assert counts(connection)["duplicate"] == 0


def test_session_outlives_the_process(database, broker, collectors, publisher, unique):
    """Messages that are published while no collector runs are collected by the next one."""
    collectors.start(broker.environment()).stop()
    publisher.send((n, f"{unique}/t1", reading(n)) for n in range(50))
    until(lambda: len(publisher.acknowledged) == 50)
    collectors.start(broker.environment(), subscribed=False)
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == 50)


def test_retained_without_time_is_no_reading(database, broker, collectors, publisher, unique):
    """A retained message without a time is ignored; one with a time is a reading."""
    kind = {
        "quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}},
        "format": {"name": "fields", "time": None},
    }
    document = json.loads(collectors.registry.read_bytes())
    document["types"]["untimed"] = kind
    document["sensors"][0]["type"] = "untimed"
    collectors.registry.write_text(json.dumps(document))
    publisher.send([(0, f"{unique}/t0", b'{"temperature": 1}'), (1, f"{unique}/t1", reading(0))], retain=True)
    until(lambda: len(publisher.acknowledged) == 2)
    collectors.start(broker.environment())
    with database.connect() as connection:
        until(lambda: counts(connection)["messages"] == 2)
        assert (counts(connection)["ignored"], counts(connection)["stored"]) == (1, 1)
        publisher.send([(2, f"{unique}/t0", b'{"temperature": 2}')])
        until(lambda: counts(connection)["stored"] == 2)


def test_the_later_publish_of_an_instant_replaces_the_earlier(database, broker, collectors, publisher, unique):
    """The later of two publishes with one last_seen stands: in the reading, the means and the balanced accounts."""
    document = json.loads(collectors.registry.read_bytes())
    document["types"]["thermometer"]["format"] = "zigbee2mqtt"
    collectors.registry.write_text(json.dumps(document))
    collectors.start(broker.environment())
    states = [(0, 20.0), (0, 21.5), (1, 30.0), (1, 30.0)]
    with database.connect() as connection:
        for number, (second, temperature) in enumerate(states, 1):
            body = {"last_seen": (NOW + timedelta(seconds=second)).isoformat(), "temperature": temperature}
            publisher.send([(number, f"{unique}/t0", json.dumps(body).encode())])
            until(lambda number=number: counts(connection)["messages"] == number)
        outcomes = {name: counts(connection)[name] for name in ("stored", "duplicate", "replaced")}
        assert outcomes == {"stored": 2, "duplicate": 1, "replaced": 1}
        assert counts(connection)["balanced"]
        assert connection.execute("select value from telemetry.reading order by time").fetchall() == [(21.5,), (30.0,)]
        superseded = connection.execute("select value, replaced_by, source from telemetry.superseded").fetchall()
        assert superseded == [(20.0, 21.5, "mqtt")]
    database.refresh()
    with database.connect() as connection:
        for level in ("1m", "1h", "1d"):
            means = connection.execute(f"select minimum, maximum, mean from telemetry.reading_{level}").fetchall()
            assert means == [(21.5, 30.0, 25.75)]


def test_follows_the_registry(database, broker, collectors, publisher, unique):
    """A sensor added to the file while the collector runs is collected; a mistake in the file changes nothing."""
    running = collectors.start(broker.environment())
    document = json.loads(collectors.registry.read_bytes())
    collectors.registry.write_text("{")
    running.wait_for("registry has mistakes; the one in force stays")
    document["sensors"].append({**document["sensors"][0], "sensor_id": "late", "topic": f"{unique}/late"})
    collectors.registry.write_text(json.dumps(document))
    running.wait_for("registry in force")
    publisher.send([(0, f"{unique}/late", reading(0)), (1, f"{unique}/t0", reading(0))])
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == 2)
        assert counts(connection)["quarantined_messages"] == 0


def test_changed_filters_leave_no_gap(database, broker, collectors, publisher, unique):
    """When the registry's filters change under load, no message is lost between the old and the new filters."""
    running = collectors.start(broker.environment())
    document = json.loads(collectors.registry.read_bytes())
    sent = 0
    for turn in range(4):
        document["subscribe"] = [f"{unique}/#"] if turn % 2 else [f"{unique}/t{n}" for n in range(4)]
        collectors.registry.write_text(json.dumps(document))
        while sum(line["event"] == "subscribed" for line in running.lines) < turn + 2:
            publisher.send((sent + n, f"{unique}/t{n}", reading(sent + n)) for n in range(4))
            sent += 4
            until(lambda: not publisher.waiting)
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == sent)


def test_waits_for_a_database_that_is_not_migrated(fresh_database, broker, collectors):
    """Before `timescale migrate` the collector waits, with a warning, and starts after it."""
    running = collectors.start(broker.environment(), subscribed=False)
    assert "run `timescale migrate`" in running.wait_for("waiting for the database")["reason"]
    migrate()
    running.wait_for("subscribed")
    assert running.stop() == 0


def test_stops_while_the_first_answer_hangs(database, broker, collectors):
    """SIGTERM stops a collector whose first transaction waits for a lock."""
    with database.connect(autocommit=False) as connection:
        connection.execute("lock table telemetry.sensor in access exclusive mode")
        running = collectors.start(broker.environment(), subscribed=False)
        locked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        with database.connect() as other:
            until(lambda: other.execute(locked).fetchone()[0] == 1)
        assert running.stop(timeout=20) == 0


def test_waits_for_the_database(database, broker, collectors, publisher, unique):
    """While the database refuses connections nothing is acknowledged; afterwards all messages are stored."""
    running = collectors.start(broker.environment())
    name = database.environment["PGDATABASE"]
    with replace(database, environment={**database.environment, "PGDATABASE": "postgres"}).connect() as admin:
        admin.execute(f"alter database {name} allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        publisher.send((n, f"{unique}/t{n % 4}", reading(n)) for n in range(100))
        running.wait_for("database write failed; retrying, messages stay unacknowledged")
        admin.execute(f"alter database {name} allow_connections true")
    running.wait_for("writing again")
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == 100)
        assert counts(connection)["balanced"]


def test_reconnects_to_the_broker(database, broker, collectors, publisher, unique):
    """After a broken connection to the broker the collector reconnects, and no message is lost."""
    running = collectors.start(broker.environment())
    intruder = Publisher(broker.environment(), client_id=unique)  # the same client id: the broker drops the first
    running.wait_for("connection to broker lost")
    intruder.close()
    running.wait_for("subscribed", count=2)
    publisher.send((n, f"{unique}/t0", reading(n)) for n in range(20))
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == 20)


def test_shared_subscription(database, broker, collectors, publisher, unique):
    """Collectors of one share group split the messages and store each once."""
    if broker.kind != "mosquitto":
        pytest.skip("nats-server has no shared subscriptions")
    group = {"COLLECTOR_SHARE_GROUP": unique}
    for name in ("a", "b"):
        collectors.start(broker.environment(), **group, COLLECTOR_CLIENT_ID=f"{unique}-{name}")
    publisher.send((n, f"{unique}/t{n % 4}", reading(n)) for n in range(400))
    with database.connect() as connection:
        until(lambda: counts(connection)["stored"] == 400)
        assert counts(connection)["duplicate"] == 0
        split = connection.execute("select collector, sum(messages) from telemetry.intake group by 1").fetchall()
        assert len(split) == 2


def test_default_broker_window_does_not_throttle(database, tmp_path, collectors, unique):
    """A broker with a window of 20 messages gets acknowledgements immediately, not once per timer interval."""
    from local_services.broker import BrokerSettings, LocalBroker

    with LocalBroker(tmp_path / "narrow", settings=BrokerSettings(max_inflight=20)) as narrow:
        collectors.start(narrow.environment())
        publisher = Publisher(narrow.environment())
        publisher.send((n, f"{unique}/t0", reading(n)) for n in range(2000))
        with database.connect() as connection:
            # 100 windows of 20: a tick of even half a second a window would take 50 seconds.
            until(lambda: counts(connection)["stored"] == 2000, timeout=25)
        publisher.close()


def test_retention_closes_the_past(database, broker, collectors, publisher, unique, monkeypatch):
    """With a retention of 30 days an older reading is quarantined, since its mean is final."""
    monkeypatch.setenv("TIMESCALE_RETENTION_DAYS", "30")
    migrate()
    now = datetime.now(tz=UTC)
    bodies = [{"timestamp": (now - timedelta(days=days)).isoformat(), "temperature": 1} for days in (29, 32)]
    collectors.start(broker.environment())
    publisher.send((n, f"{unique}/t0", json.dumps(body).encode()) for n, body in enumerate(bodies))
    with database.connect() as connection:
        until(lambda: counts(connection)["messages"] == 2)
        assert counts(connection)["stored"] == 1
        assert connection.execute("select reason from telemetry.quarantine").fetchall() == [("time_too_old",)]


def test_bad_messages_through_the_broker(database, broker, collectors, publisher, unique):
    """Invalid topics and payloads from a real broker are quarantined unchanged, between good messages."""
    head = f"{unique}/"
    topics = ["it's", '"quoted"', "50%s%d%%", "σήμα/水", "x" * (65_535 - len(head))]
    payloads = [b"not json", b'{"timestamp":', b"\xff\xfe", b"\0x", b"NaN", b"[" * 5000, b"x" * 1_000_000]
    bad = [(head + topic, b"{}") for topic in topics] + [(f"{unique}/t0", payload) for payload in payloads]
    collectors.start({**broker.environment(), "COLLECTOR_QUARANTINE_MEGABYTES": "0"})
    for number, (topic, payload) in enumerate(bad):
        publisher.send([(2 * number, f"{unique}/t1", reading(number)), (2 * number + 1, topic, payload)])
    with database.connect() as connection:
        until(lambda: counts(connection)["messages"] == 2 * len(bad))
        assert (counts(connection)["stored"], counts(connection)["balanced"]) == (len(bad), True)
        quarantined = connection.execute("select topic, payload from telemetry.quarantine").fetchall()
        assert sorted(quarantined) == sorted(bad)
