"""Sensors of the simulator that go silent, flat or out of range: seen by the first scan after a quarter of an hour."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fix_readings import write

from collector import registry
from quality.scan import scan
from simulator import play
from simulator.faults import Faults, Spec

ROOT = Path(__file__).parents[2]
DAY = 26 * 3600.0
"""What is played before the fault, in seconds: flat lines are told from a day of history on."""
INTERVAL = 900.0
"""Between two scans."""
FAULTS = {
    "thermostat-1": ("silent sensors", Spec(silent={"thermostat-1": DAY})),
    "hygrometer-1": ("flat-lined sensors", Spec(flat={"hygrometer-1": DAY})),
    "motor-1": ("sensors out of range", Spec(rates={"out-of-range": 0.5})),
}


@pytest.fixture
def played(warehouse):
    """A day of all simulated sensors, a reading a minute; then three of them go wrong for one interval of scans."""
    sensors = play.choose(registry.load(ROOT / "sensors.json"), None, [])
    players = play.players(sensors, 1, None)
    series = {}
    for player in players:
        for name in player.signals:
            quantity = player.sensor.quantities[name]
            series[player.sensor.sensor_id, name] = warehouse.register(
                player.sensor.sensor_id, quantity=name, interval=120, minimum=quantity.minimum,
                maximum=quantity.maximum, site=player.sensor.site,
            )  # fmt: skip
    end = time.time()
    begin = end - DAY - INTERVAL
    readings = []
    for player in players:
        samples = play.history([player], begin, end, 60.0)
        _, spec = FAULTS.get(player.sensor.sensor_id, ("", Spec()))
        if spec.rates:
            samples = [sample for sample in samples if sample.seconds < begin + DAY]
            late = play.history([player], begin + DAY, end, 60.0)
            samples += Faults(spec, 1, begin + DAY).samples(late)
        else:
            samples = Faults(spec, 1, begin).samples(samples)
        readings += [
            (series[sample.sensor.sensor_id, name], datetime.fromtimestamp(sample.seconds, UTC), float(value))
            for sample in samples
            for name, value in sample.values.items()
        ]
    write(warehouse.database, readings)
    warehouse.settle()
    return warehouse


def test_faults_are_seen_within_one_interval_and_nobody_elses_checks_change(played, told, mail_sink, post_sink):
    """Each of the three fails its own check, is stored with what was measured, and told; all others pass theirs."""
    found = scan(["reading"])
    assert found.outcome == "failed"
    failed = {(one.sensor_id, one.check) for one in found.results if one.series_id and one.word == "failed"}
    assert failed == {(sensor, check) for sensor, (check, _) in FAULTS.items()}
    well = {one.sensor_id for one in found.results if one.series_id and one.word == "passed"}
    assert {"thermostat-2", "barometer-1", "heart-rate-1"} <= well
    stored = played.execute(
        "select sensor_id, measured_value is not null, threshold is not null from quality.check_result "
        "where outcome = 'failed' and sensor_id is not null order by 1"
    )
    assert stored == [(sensor, True, True) for sensor in sorted(FAULTS)]
    told_of = {event["sensor"] for post in post_sink.posts for event in post["events"]}
    assert set(FAULTS) <= told_of
    assert len(mail_sink.mails) == 1
