"""The two main DAGs, run for real on a real warehouse: what comes out well is green, and only what does not is red."""

import uuid

import pytest
from fix_watch import Watch, missing

MODELS = ["int_unit", "stg_telemetry__intake", "fct_pipeline_hour"]
"""Part of the marts, for a whole build takes half a minute; the acceptance test makes one."""
RIGHT = """
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
values (date_trunc('minute', now()), 'mqtt', 'right', 7, 7, 7, 7);
"""
# The table itself refuses such a row: the mart's test is for what gets round it.
WRONG = """
alter table telemetry.intake drop constraint intake_messages_balance;
insert into telemetry.intake (bucket, source, collector, messages, decoded, readings, stored)
values (date_trunc('minute', now()), 'mqtt', 'wrong', 7, 5, 5, 5);
"""
MENDED = "delete from telemetry.intake where collector = 'wrong'"
CONTRACT = """
dataset: warehouse/{database}/telemetry/intake
columns:
  - name: readings
    checks:
      - missing:
checks:
  - row_count:
      threshold:
        must_be_greater_than: {least}
"""


@pytest.fixture(scope="module")
def contracts(tmp_path_factory, built_into):
    """A folder with one contract that passes, one that fails, and one in error."""
    folder = tmp_path_factory.mktemp("contracts")
    database = built_into.environment["PGDATABASE"]
    for name, least in (("passing", 0), ("failing", 1000), ("erring", "${var.MISTYPED}")):
        (folder / f"{name}.yml").write_text(CONTRACT.format(database=database, least=least))
    return folder


@pytest.fixture(scope="module")
def watch_of_all(tmp_path_factory):
    """A watch over all of the runs; None where there is none."""
    return None if missing() else Watch(tmp_path_factory.mktemp("watch") / "watched")


@pytest.fixture
def watched(watch_of_all):
    """What it has seen; skips where there is none."""
    return watch_of_all or pytest.skip(missing())


@pytest.fixture(scope="module")
def answer(inside, built_into, contracts, watch_of_all):
    """What came of two builds, of accounts that do not add up and when they do, and of a scan after them."""
    builds = [{"dag": "build_marts", "only": MODELS, "before": before} for before in (RIGHT + WRONG, MENDED)]
    environment = {**built_into.environment, "QUALITY_CONTRACTS": str(contracts)}
    return inside.ask("run", [*builds, {"dag": "scan_quality"}], environment, watch_of_all)


@pytest.fixture
def wrong(answer):
    """The build of accounts that do not add up."""
    return answer["runs"][0]


@pytest.fixture
def mended(answer):
    """The build of accounts that do."""
    return answer["runs"][1]


@pytest.fixture
def scan(answer):
    """The scan."""
    return answer["runs"][2]


@pytest.fixture
def rows(built_into):
    """Ask the warehouse."""

    def ask(query):
        with built_into.connect() as connection:
            return connection.execute(query).fetchall()

    return ask


def test_a_failed_test_is_red_at_its_model_and_nowhere_else(wrong):
    """One test of one model fails: one square is red, the asset is not updated, and nothing is tried again in vain."""
    assert wrong["state"] == "failed"
    assert wrong["tasks"] == {
        "build": "success", "int_unit": "success", "stg_telemetry__intake": "success", "fct_pipeline_hour": "failed",
        "marts": "upstream_failed",
    }  # fmt: skip
    assert wrong["tries"]["build"] == wrong["tries"]["fct_pipeline_hour"] == 1


def test_what_is_mended_is_green(mended):
    """The next build is green, every model of it, and the asset is updated."""
    assert mended["tasks"] == dict.fromkeys(["build", *MODELS, "marts"], "success")


def test_people_are_told_of_the_model_and_of_its_recovery(rows, mended):
    """They are told of the one task that was red, and that it works again."""
    found = rows("select key, closed_at is not null from quality.incident where key like 'airflow.build%'")
    assert found == [("airflow.build_marts.fct_pipeline_hour", True)]


def test_each_contract_is_a_square_of_its_own(scan):
    """One passes, one fails at once, one that could not be scanned was tried again first; all have their names."""
    assert scan["state"] == "failed"
    assert scan["tasks"] == {"passing": "success", "failing": "failed", "erring": "failed"}
    assert scan["tries"] == {"passing": 1, "failing": 1, "erring": 3}


def test_all_tasks_of_a_run_are_one_scan(rows, scan):
    """What the contracts of one run found has one id, and is stored whatever became of the task."""
    found = rows("select contract, array_agg(distinct scan_id) from quality.check_result group by contract")
    assert {contract for contract, _ in found} == {"passing", "failing", "erring"}
    ids = {one for _, scans in found for one in scans}
    assert len(ids) == 1
    assert isinstance(ids.pop(), uuid.UUID)


def test_a_failed_check_is_told_once(rows, scan):
    """Of a failed check the scan tells, so the task does not; of one that could not be scanned both may."""
    keys = {key for (key,) in rows("select key from quality.incident where closed_at is null")}
    assert "airflow.scan_quality.scan.failing" not in keys
    assert "airflow.scan_quality.scan.erring" in keys
    assert any("failing" in key for key in keys)


def test_nobody_is_called(answer, watched, built_into):
    """Neither dbt, Soda, Airflow nor Cosmos calls anybody beyond this machine, or asks for the address of a name."""
    assert watched.beyond() == []
    assert ("127.0.0.1", int(built_into.environment["PGPORT"])) in watched.peers(), "not even the database was seen"
