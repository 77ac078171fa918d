"""docker compose: from .env.example to stored readings, with a killed collector."""

import re
import subprocess
import urllib.request

import pytest
from fix_compose import CORE, Stack, missing, published, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The core services and simulated sensors; skips the test if the engine or an image is missing."""
    if (reason := missing(CORE)) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("compose")
    with Stack(folder, [*CORE, "simulator"]) as stack:
        stack.up()
        yield stack


def stored(stack: Stack) -> int:
    """Return the number of stored readings."""
    return int(stack.query("select count(*) from telemetry.reading")[0][0])


def test_a_missing_secret_is_named(stack):
    """A missing secret prevents the start; the message has its name and the fix."""
    env = (stack.folder / ".env").read_text()
    (stack.folder / "without.env").write_text(re.sub(r"(?m)^GRAFANA_PASSWORD=.*$", "GRAFANA_PASSWORD=", env))
    with pytest.raises(RuntimeError, match=r"GRAFANA_PASSWORD.*run make secrets"):
        stack.compose("--env-file", "without.env", "config", "--quiet")


def test_readings_arrive_and_all_services_are_healthy(stack):
    """reading_1m has simulated readings, the accounting balances, and every service is healthy."""
    wait_for(lambda: stack.query("select count(*) > 0 from telemetry.reading_1m") == [["t"]], "a first reading", 180)
    assert stack.query("select balanced from telemetry.accounting") == [["t"]]
    stack.wait_healthy()
    for service, page in (("access", "/ready"), ("catalog", "/live")):
        address = stack.compose("port", service, "8080").strip()
        with urllib.request.urlopen(f"http://{address}{page}", timeout=30) as response:
            assert response.status == 200


def test_killed_collector_loses_and_duplicates_nothing(stack):
    """Every message that the broker acknowledged is stored exactly once although the collector was killed."""
    stack.compose("stop", "simulator")
    before = stack.wait_for_readings()
    simulator = stack.simulate(10)
    wait_for(lambda: stored(stack) > before + 1000, "the load", 60)
    stack.compose("kill", "collector")
    stack.compose("start", "collector")
    acknowledged = published(simulator)
    wait_for(lambda: stored(stack) >= before + acknowledged, "every reading", 120)
    assert stored(stack) == before + acknowledged
    assert stack.query("select balanced, quarantined_readings from telemetry.accounting") == [["t", "0"]]


def test_containers_run_without_root(stack):
    """No process of a container runs as root, and no container can write to its root file system."""
    for service in CORE:
        if service == "migrate":
            continue
        (container,) = stack.containers(service)
        top = subprocess.run(
            ["docker", "top", container, "-eo", "pid,uid,args"], check=True, capture_output=True, text=True, timeout=60
        ).stdout.splitlines()[1:]
        assert all(line.split()[1] != "0" for line in top), top
        process = subprocess.run(
            ["docker", "exec", container, "sh", "-c", "touch /touched"], check=False, capture_output=True, timeout=60
        )
        assert process.returncode != 0
