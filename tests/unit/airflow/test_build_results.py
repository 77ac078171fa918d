"""Results of a dbt build are grouped by model, and no failure is dropped."""

import importlib
from types import SimpleNamespace

import pytest

from local_services.airflow_settings import DAGS


@pytest.fixture
def build_results(monkeypatch):
    """The module in the DAGs' folder, where Airflow finds it."""
    monkeypatch.syspath_prepend(DAGS)
    return importlib.import_module("warehouse.build_results")


def result(unique_id, status, message=None, **node):
    """Make a result with the attributes of dbt's RunResult."""
    name = unique_id.split(".")[-1]
    return SimpleNamespace(node=SimpleNamespace(unique_id=unique_id, name=name, **node), status=status, message=message)


@pytest.fixture
def by_model(build_results):
    """Group results by model."""
    return lambda *results: build_results.results_by_model(build_results.node_result(node) for node in results)


def ok(models):
    """Return whether each model succeeded."""
    return {name: model["ok"] for name, model in models.items()}


def test_failed_test_fails_only_its_model(by_model):
    """A failed test marks its model as failed, and no other model."""
    models = by_model(
        result("model.p.a", "success"),
        result("model.p.b", "success"),
        result("test.p.unique_b", "fail", "Got 2 results", attached_node="model.p.b"),
    )
    assert ok(models) == {"model.p.a": True, "model.p.b": False}
    assert models["model.p.b"]["lines"] == ["b: success", "unique_b: fail: Got 2 results"]


def test_failed_unit_test_belongs_to_its_model(by_model):
    """Dbt skips the model after a failed unit test, and the result of the model says why."""
    models = by_model(
        result("unit_test.p.a.adds_up", "fail", "actual differs", depends_on_nodes=["model.p.a"]),
        result("model.p.a", "skipped"),
    )
    assert ok(models) == {"model.p.a": False}
    assert "adds_up: fail: actual differs" in models["model.p.a"]["lines"]


def test_test_of_several_models_belongs_to_the_one_built_last(by_model):
    """A test of two models is assigned to the later model, after which dbt could run it."""
    models = by_model(
        result("model.p.first", "success"),
        result("model.p.last", "success"),
        result("test.p.both", "fail", depends_on_nodes=["model.p.last", "model.p.first"]),
    )
    assert ok(models) == {"model.p.first": True, "model.p.last": False}


def test_results_of_no_model_are_kept(by_model, build_results):
    """A failed test of a source, or a hook, has no task: its result has a separate key, which fails the build."""
    models = by_model(
        result("model.p.a", "success"),
        result("test.p.source_not_null", "fail", depends_on_nodes=["source.p.s.t"]),
        result("operation.p.hook", "success"),
    )
    assert ok(models) == {"model.p.a": True, build_results.NO_MODEL: False}


@pytest.mark.parametrize(
    ("status", "success"),
    [("success", True), ("pass", True), ("warn", True), ("no-op", True), ("error", False), ("fail", False),
     ("skipped", False), ("runtime error", False), ("partial success", False), ("anything new", False)],
)  # fmt: skip
def test_only_known_statuses_count_as_success(by_model, status, success):
    """A warning is a success; a skipped node and an unknown status are failures."""
    assert ok(by_model(result("model.p.a", status))) == {"model.p.a": success}


def test_ephemeral_model_has_the_results_of_its_unit_tests(build_results):
    """Dbt reports no result for an ephemeral model: it succeeds unless one of its unit tests fails."""
    nodes = {
        f"model.p.{name}": {"name": name, "resource_type": "model", "config": {"materialized": materialized}}
        for name, materialized in (("good", "ephemeral"), ("bad", "ephemeral"), ("table", "table"))
    }
    tests = [
        result(f"unit_test.p.{name}.t", status, depends_on_nodes=[f"model.p.{name}"])
        for name, status in (("good", "pass"), ("bad", "fail"))
    ]
    ephemeral = build_results.ephemeral_models({"nodes": nodes})
    models = build_results.results_by_model([*ephemeral, *map(build_results.node_result, tests)])
    assert ok(models) == {"model.p.good": True, "model.p.bad": False}
    assert models["model.p.bad"]["lines"] == ["bad: ephemeral", "t: fail"]


def test_messages_take_one_line(by_model):
    """Line breaks of a database message are removed for logs and notifications."""
    models = by_model(result("model.p.a", "error", "Database Error\n  no such\n  table"))
    assert models["model.p.a"]["lines"] == ["a: error: Database Error no such table"]


def test_model_graph_ignores_tests_and_order(build_results):
    """The graph that tasks are generated from holds only models and snapshots, with sorted upstream nodes."""
    node = {"resource_type": "model", "depends_on": {"nodes": ["source.b", "model.a"]}}
    manifest = {"nodes": {"model.c": node, "test.t": {"resource_type": "test", "depends_on": {"nodes": []}}}}
    assert build_results.model_graph(manifest) == {"model.c": ["model.a", "source.b"]}
