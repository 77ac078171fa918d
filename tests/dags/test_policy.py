"""The rules that hold for every DAG, read as Airflow reads them."""

import json
from collections import Counter

import pytest

from local_services.airflow import POOLS
from local_services.airflow_settings import DAGS

NAMES = sorted(path.stem for path in DAGS.glob("*.py"))


@pytest.fixture(scope="module")
def bag(inside):
    """All DAGs, described."""
    return inside.ask("bag")


@pytest.fixture(params=NAMES)
def dag(request, bag):
    """Each DAG in turn."""
    return bag["dags"][request.param]


@pytest.fixture
def tasks(dag):
    """The tasks of each DAG in turn."""
    return dag["tasks"]


def test_tasks_find_imported_what_takes_long(inside):
    """The scheduler has imported Airflow's runner, Cosmos, dbt and Soda before it makes the processes of tasks."""
    answer = inside.ask("ready")
    assert answer["errors"] == {}
    early = {"airflow.sdk.execution_time.task_runner", "cosmos.converter", "dbt.cli.main", "soda_core.contracts"}
    assert early <= set(answer["early"])
    assert answer["late"] == []


def test_every_file_is_one_dag_of_its_name(bag):
    """No DAG is missing, and where one is defined can be guessed from its name."""
    assert bag["errors"] == {}
    assert {name: dag["file"] for name, dag in bag["dags"].items()} == {name: name for name in NAMES}
    assert set(NAMES) >= {"build_marts", "scan_quality", "publish_catalog", "archive_upkeep", "retention"}


def test_reading_them_warns_of_nothing(bag):
    """Nothing in them is deprecated or odd to Airflow."""
    assert bag["warnings"] == {}


def test_it_says_what_it_does_and_what_to_do_when_it_is_red(dag):
    """Whoever is called at night finds in the UI what the DAG does, when, and how to mend it."""
    assert "## When it is red" in dag["doc_md"]
    assert len(dag["doc_md"].split("## When it is red")[1]) > 200
    assert dag["tags"]


def test_runs_neither_collide_nor_pile_up(dag):
    """One run at a time, and none for times that passed while Airflow was away."""
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)


def test_every_task_has_an_owner_and_ends(tasks):
    """Somebody answers for each task, and none runs for ever."""
    assert {task["owner"] for task in tasks.values()} <= {"platform", "analytics"}
    assert all(0 < task["timeout"] <= 3600 for task in tasks.values())


def test_every_task_is_tried_again_later_and_later(tasks):
    """A database that restarts makes no task fail, and one that is away is not besieged."""
    for task in tasks.values():
        assert task["retries"] >= 1
        assert task["retry_delay"] >= 10
        assert task["backoff"] > 1
        assert task["longest_delay"] <= 3600


def test_every_task_tells_of_its_failure_and_its_recovery(tasks):
    """Nobody has to look at the UI to learn that a task has failed or works again."""
    for task in tasks.values():
        assert (task["on_failure"], task["on_success"]) == (["failed"], ["recovered"])


def test_every_pool_is_made_at_the_start_and_large_enough(tasks):
    """No task waits for slots that there will never be."""
    pools = {name: pool["slots"] for name, pool in json.loads(POOLS.read_text()).items()} | {"default_pool": 128}
    assert all(task["pool_slots"] <= pools[task["pool"]] for task in tasks.values())


def test_what_writes_has_the_warehouse_for_itself(bag):
    """While marts are built or readings dropped, nothing else in the pool runs; scans run beside each other."""
    slots = json.loads(POOLS.read_text())["warehouse"]["slots"]
    taken = {
        (name, task): told["pool_slots"]
        for name, dag in bag["dags"].items()
        for task, told in dag["tasks"].items()
        if told["pool"] == "warehouse"
    }
    assert taken["build_marts", "build"] == taken["retention", "drop"] == slots
    assert taken["scan_quality", "scan"] == taken["publish_catalog", "catalog"] == 1 < slots


def test_assets_start_what_follows(bag):
    """A build starts scan and catalog through its asset; the scan goes by the clock as well."""
    dags = bag["dags"]
    assert [name for name, dag in dags.items() if dag["outlets"]] == ["build_marts"]
    assert {name: dag["assets"] for name, dag in dags.items() if dag["assets"]} == {
        "publish_catalog": ["warehouse_marts"],
        "scan_quality": ["warehouse_marts"],
    }
    assert dags["scan_quality"]["schedule"] == "AssetOrTimeSchedule"


def test_every_model_and_snapshot_is_a_task(bag, manifest):
    """The tasks of build_marts are the models and snapshots of the dbt project, each after those it is made from."""
    nodes = {
        name: node
        for name, node in json.loads(manifest.read_text())["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
    }
    tasks = bag["dags"]["build_marts"]["tasks"]
    shown = {task["unique_id"]: task["upstream"] for task in tasks.values() if task["unique_id"]}
    assert shown == {
        name: sorted(nodes[one]["name"] for one in node["depends_on"]["nodes"] if one in nodes) or ["build"]
        for name, node in nodes.items()
    }
    assert Counter(task["unique_id"] is None for task in tasks.values())[True] == 2


def test_every_contract_is_a_mapped_task(bag):
    """The scan has one task, mapped over the contracts."""
    assert {name: task["mapped"] for name, task in bag["dags"]["scan_quality"]["tasks"].items()} == {"scan": True}
