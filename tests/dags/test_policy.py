"""Policies for every DAG, checked on the DAGs as Airflow loads them."""

import json
from collections import Counter

import pytest

from local_services.airflow import POOLS
from local_services.airflow_settings import DAGS

NAMES = sorted(path.stem for path in DAGS.glob("*.py"))


@pytest.fixture(scope="module")
def bag(airflow_home):
    """Descriptions of all DAGs."""
    return airflow_home.run("bag")


@pytest.fixture(params=NAMES)
def dag(request, bag):
    """One DAG per test."""
    return bag["dags"][request.param]


@pytest.fixture
def tasks(dag):
    """The tasks of one DAG per test."""
    return dag["tasks"]


def test_scheduler_preloads_heavy_modules(airflow_home):
    """The scheduler imports Airflow's runner, Cosmos, dbt and Soda before it forks the processes of tasks."""
    answer = airflow_home.run("preloaded")
    assert answer["errors"] == {}
    early = {"airflow.sdk.execution_time.task_runner", "cosmos.converter", "dbt.cli.main", "soda_core.contracts"}
    assert early <= set(answer["early"])
    assert answer["late"] == []


def test_every_file_defines_one_dag_of_its_name(bag):
    """No DAG is missing, and the name of a DAG is the name of its file."""
    assert bag["errors"] == {}
    assert {name: dag["file"] for name, dag in bag["dags"].items()} == {name: name for name in NAMES}
    assert set(NAMES) >= {"build_marts", "scan_quality", "publish_catalog", "archive_upkeep", "retention"}


def test_loading_the_dags_gives_no_warning(bag):
    """The DAGs use nothing that Airflow deprecates or warns about."""
    assert bag["warnings"] == {}


def test_every_dag_documents_its_triage(dag):
    """The UI shows what the DAG does, when it runs, and how to fix a failure."""
    assert "## When it is red" in dag["doc_md"]
    assert len(dag["doc_md"].split("## When it is red")[1]) > 200
    assert dag["tags"]


def test_runs_do_not_overlap_or_catch_up(dag):
    """One run at a time, and none for the times when Airflow was stopped."""
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)


def test_every_task_has_an_owner_and_a_timeout(tasks):
    """Each task has a known owner and at most an hour."""
    assert {task["owner"] for task in tasks.values()} <= {"platform", "analytics"}
    assert all(0 < task["timeout"] <= 3600 for task in tasks.values())


def test_every_task_retries_with_backoff(tasks):
    """Retries outlast a restart of the database, and growing delays do not overload it."""
    for task in tasks.values():
        assert task["retries"] >= 1
        assert task["retry_delay"] >= 10
        assert task["backoff"] > 1
        assert task["longest_delay"] <= 3600


def test_every_task_notifies_failure_and_recovery(tasks):
    """Each task has the callbacks that notify people on failure and recovery."""
    for task in tasks.values():
        assert (task["on_failure"], task["on_success"]) == (["notify_failure"], ["notify_recovery"])


def test_every_pool_exists_and_is_large_enough(tasks):
    """No task needs more slots than its pool has."""
    pools = {name: pool["slots"] for name, pool in json.loads(POOLS.read_text()).items()} | {"default_pool": 128}
    assert all(task["pool_slots"] <= pools[task["pool"]] for task in tasks.values())


def test_writing_tasks_take_all_slots(bag):
    """While marts are built or readings dropped, no other task of the pool runs; scans run in parallel."""
    slots = json.loads(POOLS.read_text())["warehouse"]["slots"]
    slots_by_task = {
        (name, task): attributes["pool_slots"]
        for name, dag in bag["dags"].items()
        for task, attributes in dag["tasks"].items()
        if attributes["pool"] == "warehouse"
    }
    assert slots_by_task["build_marts", "build"] == slots_by_task["retention", "drop"] == slots
    assert slots_by_task["scan_quality", "scan"] == slots_by_task["publish_catalog", "catalog"] == 1 < slots


def test_asset_triggers_scan_and_catalog(bag):
    """A build starts scan and catalog through its asset; the scan has a schedule too."""
    dags = bag["dags"]
    assert [name for name, dag in dags.items() if dag["outlets"]] == ["build_marts"]
    assert {name: dag["assets"] for name, dag in dags.items() if dag["assets"]} == {
        "publish_catalog": ["warehouse_marts"],
        "scan_quality": ["warehouse_marts"],
    }
    assert dags["scan_quality"]["schedule"] == "AssetOrTimeSchedule"


def test_every_model_and_snapshot_is_a_task(bag, manifest):
    """The tasks of build_marts are the models and snapshots of the dbt project, each after its upstream nodes."""
    nodes = {
        name: node
        for name, node in json.loads(manifest.read_text())["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
    }
    tasks = bag["dags"]["build_marts"]["tasks"]
    upstream_by_model = {task["unique_id"]: task["upstream"] for task in tasks.values() if task["unique_id"]}
    assert upstream_by_model == {
        name: sorted(nodes[parent]["name"] for parent in node["depends_on"]["nodes"] if parent in nodes) or ["build"]
        for name, node in nodes.items()
    }
    assert Counter(task["unique_id"] is None for task in tasks.values())[True] == 2


def test_contracts_are_one_mapped_task(bag):
    """The scan has one task that is mapped over the contracts."""
    assert {name: task["mapped"] for name, task in bag["dags"]["scan_quality"]["tasks"].items()} == {"scan": True}
