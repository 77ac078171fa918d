"""A scan detects simulated sensors that are silent, flat-lined or out of range within a quarter of an hour."""

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
"""By sensor: its fault, the start within the 26 simulated hours (1560 minutes), and the check that must fail.

A flat line needs a day of history. Silence is checked only for sensors whose readings arrived within five minutes,
such as the simulated readings of two minutes before the fault.
"""
LIVE = """
select count(*) = 4 from quality.series_newest
where last_time > %(since)s and sensor_id in ('thermostat-2', 'barometer-1', 'heart-rate-1', 'motor-1')
"""


@pytest.fixture
def simulated(warehouse, broker, collectors, unique) -> Iterator[None]:
    """A day of simulated readings and a quarter of an hour with faults, sent to a collector that keeps running."""
    text = (ROOT / "sensors.json").read_text().replace('"sensors/', f'"{unique}/')
    collectors.registry.write_text(text)
    collector = collectors.start(broker.environment())
    ((since,),) = warehouse.execute("select now()")
    faults = ",".join(f"{fault}={sensor}:{after}" for sensor, (fault, after, _) in FAULTS.items())
    command = [SIMULATOR, "run", "--history", "26h", "--batch", "20", "--faults", faults]
    environment = {**os.environ, **broker.environment(), "COLLECTOR_REGISTRY": str(collectors.registry)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as simulator:
        try:
            until(
                lambda: simulator.poll() is not None or warehouse.execute(LIVE, since=since) == [(True,)], timeout=120
            )
            assert simulator.poll() is None, simulator.communicate()[0]
            warehouse.refresh()
            yield
        finally:
            simulator.terminate()
            simulator.communicate(timeout=60)
    assert collector.stop() == 0


def test_each_fault_fails_only_its_own_check(simulated, warehouse, notification_settings, mail_sink, post_sink):
    """Each faulty sensor fails its check, which is stored and notified; no other check fails."""
    result = scan(["reading"])
    statuses = {(check.sensor_id, check.check): check.status for check in result.results if check.series_id}
    failed = {(sensor, check) for sensor, (_, _, check) in FAULTS.items()}
    assert {check for check, status in statuses.items() if status in ("failed", "warned")} == failed
    evaluated = {check for check in statuses if check[0] != "office-1" and "drift" not in check[1]}
    assert [check for check in evaluated if statuses[check] == "not evaluated"] == []
    assert len(evaluated) == 3 * 6
    stored = warehouse.execute(
        "select sensor_id, measured_value is not null, threshold is not null from quality.check_result "
        "where outcome = 'failed' and sensor_id is not null order by 1"
    )
    assert stored == [(sensor, True, True) for sensor in sorted(FAULTS)]
    notified = {event["sensor"] for post in post_sink.posts for event in post["events"]}
    assert notified - {None} == set(FAULTS)
    assert len(mail_sink.mails) == 1
