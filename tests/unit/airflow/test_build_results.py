"""What a build says becomes one verdict a model, and no failure goes unseen."""

import importlib
from types import SimpleNamespace

import pytest

from local_services.airflow_settings import DAGS


@pytest.fixture
def verdict(monkeypatch):
    """The module of the DAGs, which Airflow finds in their folder."""
    monkeypatch.syspath_prepend(DAGS)
    return importlib.import_module("warehouse.build_results")


def result(unique_id, status, message=None, **node):
    """Make a result like dbt's."""
    name = unique_id.split(".")[-1]
    return SimpleNamespace(node=SimpleNamespace(unique_id=unique_id, name=name, **node), status=status, message=message)


@pytest.fixture
def judged(verdict):
    """Judge results."""
    return lambda *results: verdict.verdicts(verdict.ran(one) for one in results)


def good(found):
    """Return the models that are as they should be, and those that are not."""
    return {name: one["good"] for name, one in found.items()}


def test_a_model_is_as_good_as_its_tests(judged):
    """A failed test makes its model bad, and no other."""
    found = judged(
        result("model.p.a", "success"),
        result("model.p.b", "success"),
        result("test.p.unique_b", "fail", "Got 2 results", attached_node="model.p.b"),
    )
    assert good(found) == {"model.p.a": True, "model.p.b": False}
    assert found["model.p.b"]["said"] == ["b: success", "unique_b: fail: Got 2 results"]


def test_a_failed_unit_test_is_its_models(judged):
    """Dbt skips the model then, and the verdict says why."""
    found = judged(
        result("unit_test.p.a.adds_up", "fail", "actual differs", depends_on_nodes=["model.p.a"]),
        result("model.p.a", "skipped"),
    )
    assert good(found) == {"model.p.a": False}
    assert "adds_up: fail: actual differs" in found["model.p.a"]["said"]


def test_a_test_of_several_models_counts_for_the_one_built_last(judged):
    """Until then it could not be run; what it depends on is not to blame for it."""
    found = judged(
        result("model.p.first", "success"),
        result("model.p.last", "success"),
        result("test.p.both", "fail", depends_on_nodes=["model.p.last", "model.p.first"]),
    )
    assert good(found) == {"model.p.first": True, "model.p.last": False}


def test_what_is_about_no_model_is_kept(judged, verdict):
    """A failed test of a source, or hook, has no task: it stands under a name of its own, for the build to fail."""
    found = judged(
        result("model.p.a", "success"),
        result("test.p.source_not_null", "fail", depends_on_nodes=["source.p.s.t"]),
        result("operation.p.hook", "success"),
    )
    assert good(found) == {"model.p.a": True, verdict.NOBODY: False}


@pytest.mark.parametrize(
    ("status", "fine"),
    [("success", True), ("pass", True), ("warn", True), ("no-op", True), ("error", False), ("fail", False),
     ("skipped", False), ("runtime error", False), ("partial success", False), ("anything new", False)],
)  # fmt: skip
def test_only_what_is_known_to_be_good_is(judged, status, fine):
    """A warning is no failure; what was skipped, and a word that dbt may invent, is."""
    assert good(judged(result("model.p.a", status))) == {"model.p.a": fine}


def test_messages_take_one_line(judged):
    """Logs and messages to people stay readable, whatever the database says."""
    found = judged(result("model.p.a", "error", "Database Error\n  no such\n  table"))
    assert found["model.p.a"]["said"] == ["a: error: Database Error no such table"]


def test_models_are_compared_by_what_they_are_made_from(verdict):
    """The graph that tasks are made from holds models and snapshots alone, in whatever order they are told."""
    node = {"resource_type": "model", "depends_on": {"nodes": ["source.b", "model.a"]}}
    manifest = {"nodes": {"model.c": node, "test.t": {"resource_type": "test", "depends_on": {"nodes": []}}}}
    assert verdict.graph(manifest) == {"model.c": ["model.a", "source.b"]}
