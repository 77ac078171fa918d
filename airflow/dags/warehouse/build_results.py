"""Results of one ``dbt build``, grouped by model. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EPHEMERAL = "ephemeral"
"""Status of a model that is part of its downstream models' SQL: dbt does not build it, but runs its unit tests."""

OK_STATUSES = frozenset({"success", "pass", "warn", "no-op", EPHEMERAL})
"""dbt's statuses of a built model and a passed test; the author of a test chose that it only warns."""

MODEL_KINDS = frozenset({"model", "snapshot", "seed"})
"""Kinds of node that have a task; any other node belongs to one of these or to none."""

NO_MODEL = ""
"""Key of the results that belong to no model, such as tests of a source."""


@dataclass(frozen=True)
class NodeResult:
    """One node that dbt ran or skipped: a model, snapshot or test; ``owners``: the models that a test is about."""

    unique_id: str
    name: str
    status: str
    message: str = ""
    owners: Sequence[str] = ()

    @property
    def kind(self) -> str:
        """Resource type in dbt: model, snapshot, test, unit_test, …."""
        return self.unique_id.partition(".")[0]

    @property
    def ok(self) -> bool:
        """Whether it succeeded; a skipped node did not."""
        return self.status in OK_STATUSES

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f": {self.message}" if self.message and not self.ok else "")


def node_result(result: Any) -> NodeResult:
    """Convert a result of dbt (``dbt.artifacts.schemas.run.RunResult``, dbt-core 1.11)."""
    node = result.node
    kind = str(node.unique_id).partition(".")[0]
    owners: Sequence[str] = ()
    if kind not in MODEL_KINDS:
        attached = getattr(node, "attached_node", None)
        owners = [attached] if attached else list(getattr(node, "depends_on_nodes", ()))
    message = " ".join(str(result.message or "").split())
    return NodeResult(node.unique_id, node.name, str(result.status), message, owners)


def ephemeral_models(manifest: Mapping[str, Any]) -> list[NodeResult]:
    """Return a result for each ephemeral model of a manifest, since dbt reports none."""
    return [
        NodeResult(name, node["name"], EPHEMERAL)
        for name, node in manifest["nodes"].items()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "ephemeral"
    ]


def results_by_model(results: Iterable[NodeResult]) -> dict[str, dict[str, Any]]:
    """Return ``{"ok": …, "lines": [line, …]}`` by model: the model itself and its tests in the order they ran.

    A test of several models belongs to the model that was built last, after which dbt could run it. Results of no
    model are under :data:`NO_MODEL`.
    """
    results = list(results)
    built = {node.unique_id: position for position, node in enumerate(results) if node.kind in MODEL_KINDS}
    models: dict[str, dict[str, Any]] = {
        node.unique_id: {"ok": node.ok, "lines": [str(node)]} for node in results if node.kind in MODEL_KINDS
    }
    for test in results:
        if test.kind in MODEL_KINDS or test.status == "no-op":  # an exposure, which has no result
            continue
        owner = max((owner for owner in test.owners if owner in built), key=built.__getitem__, default=NO_MODEL)
        model = models.setdefault(owner, {"ok": True, "lines": []})
        model["ok"] = model["ok"] and test.ok
        model["lines"].append(str(test))
    return models


def model_graph(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the upstream nodes of each model and snapshot of a manifest: everything the tasks are generated from."""
    return {
        name: sorted(node["depends_on"]["nodes"])
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
    }
