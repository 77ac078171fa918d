"""Imports run one way: ``timescale ← collector ← simulator``, ``timescale ← quality``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "timescale": {"timescale"},
    "collector": {"collector", "timescale"},
    "simulator": {"simulator", "collector", "timescale"},
    "access": {"access", "timescale"},
    "quality": {"quality", "timescale"},
}
"""Package → which of ours it may import; those not there yet are passed over."""
OURS = {*MAY_IMPORT, "airflow", "bench", "dags", "dbt_project", "deploy", "tests"}
MODULES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Yield the name of each module that the file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or ""


def test_there_is_something_to_look_at():
    """The packages are found, so that the other tests look at something."""
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} >= {"timescale", "collector", "quality", "simulator"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    """A module imports of ours only its own package and those below it."""
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & OURS
    assert ours <= MAY_IMPORT[package]
