"""What one ``dbt build`` says about each model. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GOOD = frozenset({"success", "pass", "warn", "no-op"})
"""What dbt says of a model that is built and of a test that holds; a warning is all that the test's author wanted."""

MODELS = frozenset({"model", "snapshot", "seed"})
"""What has a task; all else that dbt runs is about one of these, or about nothing."""

NOBODY = ""
"""The owner of what belongs to no model, as tests of a source do."""


@dataclass(frozen=True)
class Ran:
    """What dbt ran or skipped: a model, a snapshot, a test; ``owners``: the models that a test is about."""

    unique_id: str
    name: str
    status: str
    message: str = ""
    owners: Sequence[str] = ()

    @property
    def kind(self) -> str:
        """What it is, in dbt's words: model, snapshot, test, unit_test, …."""
        return self.unique_id.partition(".")[0]

    @property
    def good(self) -> bool:
        """Whether it is as it should be; what dbt skipped is not."""
        return self.status in GOOD

    def __str__(self) -> str:
        return f"{self.name}: {self.status}" + (f": {self.message}" if self.message and not self.good else "")


def ran(result: Any) -> Ran:
    """Return what a result of dbt's says (``dbt.artifacts.schemas.run.RunResult``, dbt-core 1.11)."""
    node = result.node
    kind = str(node.unique_id).partition(".")[0]
    owners: Sequence[str] = ()
    if kind not in MODELS:
        attached = getattr(node, "attached_node", None)
        owners = [attached] if attached else list(getattr(node, "depends_on_nodes", ()))
    message = " ".join(str(result.message or "").split())
    return Ran(node.unique_id, node.name, str(result.status), message, owners)


def verdicts(results: Iterable[Ran]) -> dict[str, dict[str, Any]]:
    """Return by model ``{"good": …, "said": [line, …]}``: the model itself, and all its tests in the order they ran.

    A test of several models counts for the one that was built last: that is when it could be run. What belongs to no
    model stands under :data:`NOBODY`.
    """
    results = list(results)
    built = {one.unique_id: place for place, one in enumerate(results) if one.kind in MODELS}
    found: dict[str, dict[str, Any]] = {
        one.unique_id: {"good": one.good, "said": [str(one)]} for one in results if one.kind in MODELS
    }
    for test in results:
        if test.kind in MODELS or test.status == "no-op":  # an exposure, of which dbt has nothing to say
            continue
        owner = max((owner for owner in test.owners if owner in built), key=built.__getitem__, default=NOBODY)
        verdict = found.setdefault(owner, {"good": True, "said": []})
        verdict["good"] = verdict["good"] and test.good
        verdict["said"].append(str(test))
    return found


def graph(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return each model and snapshot of a manifest with what it is made from: all that tasks are made from."""
    return {
        name: sorted(node["depends_on"]["nodes"])
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
    }
