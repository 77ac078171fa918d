"""``quality`` as a command: exit statuses, messages, the report, and to whom a scan talks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fix_watch import Watch

from timescale.migrate import migrate

pytestmark = pytest.mark.parametrize("edition", ["postgresql"], indirect=True)

CONTRACT = """
dataset: warehouse/${var.DATABASE}/telemetry/sensor
variables:
  DATABASE:
    default: warehouse
columns:
  - name: sensor_id
    checks:
      - missing:
checks:
  - metric:
      name: sensors
      query: select count(*) from telemetry.sensor
      threshold:
        must_be_less_than: 3
        additional:
          level: warn
          must_be_less_than: 2
"""


@pytest.fixture
def contract(tmp_path, monkeypatch) -> Path:
    """A folder with one contract, which counts sensors: two are a warning, three a failure."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "sensors.yml").write_text(CONTRACT)
    monkeypatch.setenv("QUALITY_CONTRACTS", str(folder))
    return folder


def quality(*arguments: str, watch: Watch | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its console script does."""
    code = "from quality.cli import main; main()"
    return subprocess.run(
        [*(watch.prefix if watch else []), sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment}, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_exit_statuses_and_the_report(warehouse, contract):
    """0, 2, 1 and 3 as sensors are added and the table goes; the report shows how it has been, and what is open."""
    assert quality("report").stdout.strip() == "Nothing has been scanned yet: `quality scan`."
    ended = []
    for number in range(1, 4):
        warehouse.register(f"t{number}")
        done = quality("scan")
        ended.append((done.returncode, done.stdout.splitlines()[-1].split(":")[0], done.stderr.count("FAILED")))
    assert ended == [(0, "PASSED", 0), (2, "WARNED", 1), (1, "FAILED", 0)]
    report = quality("report", "--contract", "sensors")
    assert report.returncode == 0
    lines = [line.split() for line in report.stdout.splitlines()]
    assert [line[-1] for line in lines if line[:2] == ["sensors", "sensors"]] == ["·WF"]
    assert ["sensors:", "sensors"] in [line[:2] for line in lines]
    warehouse.execute("alter table telemetry.sensor rename to elsewhere")
    done = quality("scan")
    assert done.returncode == 3
    assert "not evaluated: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["scan"], {"PGPORT": "1"}, "no connection to the database"),
        (["report"], {"PGPORT": "1"}, "no connection to the database"),
        (["scan", "--contract", "sensor"], {}, "no such contract: sensor. There are sensors."),
        (["scan"], {"QUALITY_CONTRACTS": "/nowhere"}, "QUALITY_CONTRACTS: no such folder /nowhere"),
        (["scan"], {"QUALITY_SMTP_HOST": "mail"}, "QUALITY_MAIL_TO: QUALITY_SMTP_HOST needs it"),
        (["scan", "--contrct"], {}, "No such option"),
    ],
    ids=["database away", "database away, report", "unknown contract", "no folder", "half a setting", "unknown option"],
)
def test_what_can_not_be_scanned_ends_with_3_and_one_message(database, contract, arguments, environment, message):
    """No mistake looks like a warning, and none shows a traceback."""
    done = quality(*arguments, **environment)
    assert done.returncode == 3
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_schema_is_told(fresh_database, contract):
    """A database that lacks what scans need says what to run."""
    migrate("0010")
    done = quality("scan")
    assert done.returncode == 3
    assert done.stderr.strip() == (
        "quality: the database lacks the tables and views of quality scans. Run `timescale migrate`."
    )


def test_a_scan_talks_to_nobody_beyond_this_machine(warehouse, contract, watch):
    """Soda's telemetry stays off, whatever the environment says: no connection, no datagram, no name looked up."""
    warehouse.register("t1")
    done = quality("scan", watch=watch, SODA_CORE_TELEMETRY_ENABLED="true")
    assert done.returncode == 0, done.stderr
    assert watch.beyond() == []
    assert ("127.0.0.1", int(os.environ["PGPORT"])) in watch.peers(), "not even the database was seen"


def test_a_scan_leaves_the_environment_of_its_process_alone(warehouse, contract, tmp_path):
    """No .env file is read but the one in the working directory, and nothing but Soda's own switch is set."""
    code = (
        "import os, json; before = dict(os.environ); from quality.scan import scan; scan();"
        "print(json.dumps({k: v for k, v in os.environ.items() if before.get(k) != v}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SODA")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"SODA_CORE_TELEMETRY_ENABLED": "false"}
