"""The command ``quality``: exit statuses, messages, report, and network connections."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fix_connection_trace import ConnectionTrace

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
    """A folder with one contract that counts sensors: two are a warning, three a failure."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "sensors.yml").write_text(CONTRACT)
    monkeypatch.setenv("QUALITY_CONTRACTS", str(folder))
    return folder


ANY_INTAKE = "insert into telemetry.intake (bucket, source, collector) values (now(), 'mqtt', 'test')"
"""Without it a scan has nothing to check."""


def quality(
    *arguments: str, trace: ConnectionTrace | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as its console script does."""
    code = "from quality.cli import main; main()"
    return subprocess.run(
        [*(trace.prefix if trace else []), sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment}, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_exit_statuses_and_the_report(warehouse, contract):
    """Exit status 0, 2, 1 and 3 as sensors are added and the table disappears; the report shows trend and incidents."""
    assert quality("report").stdout.strip() == "Nothing has been scanned yet: `quality scan`."
    warehouse.execute(ANY_INTAKE)
    outcomes = []
    for number in range(1, 4):
        warehouse.register(f"t{number}")
        process = quality("scan")
        outcomes.append(
            (process.returncode, process.stdout.splitlines()[-1].split(":")[0], process.stderr.count("FAILED"))
        )
    assert outcomes == [(0, "PASSED", 0), (2, "WARNED", 1), (1, "FAILED", 0)]
    report = quality("report", "--contract", "sensors")
    assert report.returncode == 0
    lines = [line.split() for line in report.stdout.splitlines()]
    assert [line[-1] for line in lines if line[:2] == ["sensors", "sensors"]] == ["·WF"]
    assert ["sensors:", "sensors"] in [line[:2] for line in lines]
    warehouse.execute("alter table telemetry.sensor rename to elsewhere")
    process = quality("scan")
    assert process.returncode == 3
    assert "not evaluated: " in process.stdout
    assert "Traceback" not in process.stdout + process.stderr


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
def test_errors_end_with_3_and_one_message(database, contract, arguments, environment, message):
    """No error has the exit status of a warning, and none shows a traceback."""
    process = quality(*arguments, **environment)
    assert process.returncode == 3
    assert message in process.stderr
    assert "Traceback" not in process.stderr


def test_old_schema_is_reported(fresh_database, contract):
    """With an old schema the message names the command to run."""
    migrate("0010")
    process = quality("scan")
    assert process.returncode == 3
    assert process.stderr.strip() == (
        "quality: the database lacks the tables and views of quality scans. Run `timescale migrate`."
    )


def test_a_scan_connects_only_to_this_machine(warehouse, contract, connection_trace):
    """Soda's telemetry stays off even if the environment enables it: no connection, no datagram, no name lookup."""
    warehouse.register("t1")
    warehouse.execute(ANY_INTAKE)
    process = quality("scan", trace=connection_trace, SODA_CORE_TELEMETRY_ENABLED="true")
    assert process.returncode == 0, process.stderr
    assert connection_trace.outside() == []
    assert ("127.0.0.1", int(os.environ["PGPORT"])) in connection_trace.peers(), "the trace lacks even the database"


def test_a_scan_does_not_change_the_environment(warehouse, contract, tmp_path):
    """Only the .env file of the working directory is read, and only Soda's telemetry switch is set."""
    code = (
        "import os, json; before = dict(os.environ); from quality.scan import scan; scan();"
        "print(json.dumps({k: v for k, v in os.environ.items() if before.get(k) != v}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SODA")}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    assert json.loads(process.stdout.splitlines()[-1]) == {"SODA_CORE_TELEMETRY_ENABLED": "false"}


def test_an_empty_database_is_not_green(warehouse):
    """Without any reading no check passes: there is nothing to check, and the scan does not end with 0."""
    process = quality("scan", "--contract=reading", "--contract=intake")
    assert process.returncode == 4, process.stderr
    assert "NOTHING TO CHECK: " in process.stdout
    rows = warehouse.execute("select distinct outcome from quality.check_result")
    assert rows == [("nothing to check",)]
    assert warehouse.execute("select count(*) from quality.incident") == [(0,)]
    warehouse.insert_readings(warehouse.register("a", interval=60), begin="2 hours", end="1 hour", interval=60)
    assert quality("scan", "--contract=reading").returncode == 1  # it is silent
