"""Sensors of the simulator that go silent, flat or out of range are seen by a scan a quarter of an hour later."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_collector import until

from quality.scan import scan

ROOT = Path(__file__).parents[3]
SIMULATOR = Path(sys.executable).parent / "simulator"
FAULTS = {
    "thermostat-1": ("silent", "1558m", "silent sensors"),
    "hygrometer-1": ("flat", "1545m", "flat-lined sensors"),
    "motor-1": ("out-of-range", "1545m", "sensors out of range"),
}
"""What happens to which sensor, when in the 26 hours (1560 minutes) that are played, and the check that is to see it.

Flat lines are told from a day of history on. Silence is told of sensors alone that sent in time before: within five
minutes, as what is played of two minutes ago.
"""
LIVE = """
select count(*) = 4 from quality.series_newest
where last_time > %(since)s and sensor_id in ('thermostat-2', 'barometer-1', 'heart-rate-1', 'motor-1')
"""


@pytest.fixture
def played(warehouse, broker, collectors, unique) -> Iterator[None]:
    """A day of all simulated sensors and a faulty quarter of an hour, played to a collector; sensors go on sending."""
    text = (ROOT / "sensors.json").read_text().replace('"sensors/', f'"{unique}/')
    collectors.registry.write_text(text)
    collector = collectors.start(broker.environment())
    ((since,),) = warehouse.execute("select now()")
    faults = ",".join(f"{fault}={sensor}:{after}" for sensor, (fault, after, _) in FAULTS.items())
    command = [SIMULATOR, "run", "--history", "26h", "--batch", "20", "--faults", faults]
    told = {**os.environ, **broker.environment(), "COLLECTOR_REGISTRY": str(collectors.registry)}
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as simulator:
        try:
            until(
                lambda: simulator.poll() is not None or warehouse.execute(LIVE, since=since) == [(True,)], timeout=120
            )
            assert simulator.poll() is None, simulator.communicate()[0]
            warehouse.settle()
            yield
        finally:
            simulator.terminate()
            simulator.communicate(timeout=60)
    assert collector.stop() == 0


def test_faults_are_seen_within_one_interval_and_nobody_elses_checks_change(
    played, warehouse, told, mail_sink, post_sink
):
    """From simulator over broker and collector: each fails its own check, which is stored and told; no other does."""
    found = scan(["reading"])
    words = {(one.sensor_id, one.check): one.word for one in found.results if one.series_id}
    failed = {(sensor, check) for sensor, (_, _, check) in FAULTS.items()}
    assert {about for about, word in words.items() if word in ("failed", "warned")} == failed
    alive = {about for about in words if about[0] != "office-1" and "drift" not in about[1]}
    assert [about for about in alive if words[about] == "not evaluated"] == []
    assert len(alive) == 3 * 6
    stored = warehouse.execute(
        "select sensor_id, measured_value is not null, threshold is not null from quality.check_result "
        "where outcome = 'failed' and sensor_id is not null order by 1"
    )
    assert stored == [(sensor, True, True) for sensor in sorted(FAULTS)]
    told_of = {event["sensor"] for post in post_sink.posts for event in post["events"]}
    assert told_of - {None} == set(FAULTS)
    assert len(mail_sink.mails) == 1
