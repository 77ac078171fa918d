"""Imports run one way: ``core ← local_services ← timescale ← collector ← simulator``, ``core ← access, quality``."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAY_IMPORT = {
    "core": {"core"},
    "local_services": {"local_services", "core"},
    "timescale": {"timescale", "local_services", "core"},
    "collector": {"collector", "core"},
    "simulator": {"simulator", "collector", "timescale", "local_services", "core"},
    "access": {"access", "core"},
    "quality": {"quality", "core"},
}
"""Package → which of ours it may import."""
DAGS = sorted((ROOT / "airflow").rglob("*.py"))
OURS = {*MAY_IMPORT, "airflow", "bench", "dags", "dbt_project", "deploy", "tests", "warehouse"} | {
    path.stem for path in DAGS if path.parent.name == "dags"
}
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
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} >= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    """A module imports of ours only its own package and those below it."""
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & OURS
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", DAGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_dags_call_quality_and_the_database_and_no_other_of_ours(path):
    """The collector is a command to them, nothing imports a DAG, and ``airflow`` is the real one."""
    ours = {name.split(".")[0] for name in imported(path)} & OURS - {"airflow"}
    assert ours <= {"core", "quality", "warehouse"}
    assert not (ROOT / "airflow" / "__init__.py").exists()


@pytest.mark.parametrize("path", DAGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_dag_is_taken_for_a_plugin_of_dbt(path):
    """Every top-level module whose name begins so is imported by dbt."""
    assert not path.stem.startswith("dbt_")
