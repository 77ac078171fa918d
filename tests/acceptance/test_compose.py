"""docker compose, as somebody runs it who has Docker: from .env.example to readings, with a service killed."""

import re
import subprocess
import urllib.request

import pytest
from fix_compose import CORE, Stack, missing, published, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The core of the system with its sensors, healthy; skipped where no engine or no images are."""
    if (why := missing(CORE)) is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("compose")
    with Stack(folder, [*CORE, "simulator"]) as stack:
        stack.up()
        yield stack


def stored(stack: Stack) -> int:
    """Return how many readings there are."""
    return int(stack.ask("select count(*) from telemetry.reading")[0][0])


def test_a_missing_secret_is_named(stack):
    """Without one secret nothing is started, and the message has its name and the mend."""
    env = (stack.folder / ".env").read_text()
    (stack.folder / "without.env").write_text(re.sub(r"(?m)^GRAFANA_PASSWORD=.*$", "GRAFANA_PASSWORD=", env))
    with pytest.raises(RuntimeError, match=r"GRAFANA_PASSWORD.*run make secrets"):
        stack.compose("--env-file", "without.env", "config", "--quiet")


def test_readings_arrive_and_all_is_healthy(stack):
    """A minute's means have the simulator's readings, the accounts balance, and every service says that it works."""
    wait_for(lambda: stack.ask("select count(*) > 0 from telemetry.reading_1m") == [["t"]], "a first reading", 180)
    assert stack.ask("select balanced from telemetry.accounting") == [["t"]]
    stack.wait_healthy()
    for service, page in (("access", "/ready"), ("catalog", "/live")):
        address = stack.compose("port", service, "8080").strip()
        with urllib.request.urlopen(f"http://{address}{page}", timeout=30) as answer:
            assert answer.status == 200


def test_a_killed_collector_loses_and_doubles_nothing(stack):
    """What the broker acknowledged to the simulator is stored, each reading once, though the collector was killed."""
    stack.compose("stop", "simulator")
    before = stack.settled()
    simulator = stack.simulate(10)
    wait_for(lambda: stored(stack) > before + 1000, "the load", 60)
    stack.compose("kill", "collector")
    stack.compose("start", "collector")
    acknowledged = published(simulator)
    wait_for(lambda: stored(stack) >= before + acknowledged, "every reading", 120)
    assert stored(stack) == before + acknowledged
    assert stack.ask("select balanced, quarantined_readings from telemetry.accounting") == [["t", "0"]]


def test_services_are_who_they_should_be(stack):
    """No container runs as root but mosquitto's, whose broker does not either; none can write to its root."""
    for service in CORE:
        if service == "migrate":
            continue
        (container,) = stack.containers(service)
        top = subprocess.run(
            ["docker", "top", container, "-eo", "pid,uid,args"], check=True, capture_output=True, text=True, timeout=60
        ).stdout.splitlines()[1:]
        assert all(line.split()[1] != "0" for line in top), top
        done = subprocess.run(
            ["docker", "exec", container, "sh", "-c", "touch /touched"], check=False, capture_output=True, timeout=60
        )
        assert done.returncode != 0
