"""No circular imports: DAG helpers, ``quality`` and ``access``; the packages of ``access`` import in one direction."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = {"warehouse": ROOT / "airflow" / "dags" / "warehouse", "quality": ROOT / "quality", "access": ROOT / "access"}
BASE = {"problems", "times", "settings", "metrics", "connections"}
ACCESS = {
    **{name: set() for name in BASE},
    "auth": {"problems"},
    "database": {"problems"},
    "ingest": {"problems", "times"},
    "openapi": {"problems"},
    "listing": {"problems", "times", "database", "openapi"},
    "routes": {*BASE, "auth", "database", "ingest", "openapi", "listing"},
    "app": {*BASE, "auth", "database", "ingest", "openapi", "routes"},
    "server": {"app", "auth", "connections", "problems", "settings"},
    "cli": {"server", "auth", "settings"},
}
"""Module or package of ``access`` → those that it may import."""


def modules(package: str) -> dict[str, Path]:
    """Return the files of a package by module name."""
    folder = FOLDERS[package]
    names = {path: (package, *path.relative_to(folder).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))}
    return {".".join(part for part in parts if part != "__init__"): path for path, parts in names.items()}


def imports(path: Path, known: set[str]) -> set[str]:
    """Return the ``known`` modules that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= members & known or {str(node.module)}
    return names & known


@pytest.mark.parametrize("package", FOLDERS)
def test_modules_import_without_circles(package):
    """The imports between the modules of a package, also those inside functions, can be sorted."""
    files = modules(package)
    graph = {name: imports(path, set(files)) for name, path in files.items()}
    assert sum(map(len, graph.values())) > len(files) / 2, "no imports found"
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(("name", "path"), modules("access").items())
def test_access_imports_in_one_direction(name, path):
    """``problems, times ← auth, listing ← routes ← app ← server ← cli``, and nothing in the other direction."""
    if name == "access":
        return
    part = name.split(".")[1]
    imported = {module.split(".")[1] for module in imports(path, set(modules("access"))) if module != "access"}
    assert imported - {part} <= ACCESS[part]


def test_the_order_of_access_has_no_circle():
    """The permitted imports themselves can be sorted, and every module of ``access`` has a place in them."""
    TopologicalSorter(ACCESS).prepare()
    assert {name.split(".")[1] for name in modules("access") if name != "access"} == set(ACCESS)
