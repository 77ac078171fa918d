"""Imports run one way: ``core ← local_services ← timescale ← collector ← simulator``, ``core ← access, quality``.

Inside ``collector``: ``message, units, topics, settings ← formats ← registry ← store, decode ← files ← commands``,
``commands ← cli``, ``settings, formats ← sources ← commands``, ``store ← archive ← files, commands``.
"""

import ast
from collections import Counter
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
"""Package → packages of this project that it may import."""
_VALUES = {"message", "units", "topics", "settings"}
COLLECTOR_MAY_IMPORT = {
    "message": set(),
    "units": set(),
    "topics": set(),
    "settings": set(),
    "formats": {"message", "units", "topics"},
    "registry": {"message", "units", "topics", "formats"},
    "decode": {"message", "units", "formats", "registry"},
    "store": {"message", "formats", "registry"},
    "sources": {"message", "settings", "formats"},
    "archive": {"message", "settings", "store"},
    "files": {"message", "formats", "registry", "decode", "store", "archive"},
    "commands": _VALUES | {"formats", "registry", "decode", "store", "sources", "archive", "files"},
    "cli": {"message", "files", "commands"},
}
"""Package or module of ``collector`` → those which it may import."""
MAX_ARROWS = 45
MAX_MODULES = 12
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
            if node.module == "collector":
                yield from (f"collector.{alias.name}" for alias in node.names)


def collector_part(name: str) -> str | None:
    """Return the package or module of ``collector`` that the module ``name`` belongs to."""
    package, _, rest = name.partition(".")
    return rest.split(".")[0] if package == "collector" and rest else None


def collector_imports() -> dict[str, set[str]]:
    """Return for each package or module of ``collector`` those that it imports."""
    arrows: dict[str, set[str]] = {part: set() for part in COLLECTOR_MAY_IMPORT}
    for path in sorted((ROOT / "collector").rglob("*.py")):
        part = collector_part(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if part != "__init__":
            arrows[part] |= {other for name in imported(path) if (other := collector_part(name)) not in {None, part}}
    return arrows


def test_packages_are_found():
    """The packages exist, so that the other tests check something."""
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} >= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    """A module imports only its own package and those below it."""
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & OURS
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("part", COLLECTOR_MAY_IMPORT)
def test_order_inside_the_collector(part):
    """A package of the collector imports only those before it."""
    assert collector_imports()[part] <= COLLECTOR_MAY_IMPORT[part]


def test_packages_of_the_collector_form_no_cycle():
    """The packages of the collector can be ordered so that each imports only earlier ones."""
    left = collector_imports()
    while left:
        free = {part for part, others in left.items() if not others & set(left)}
        assert free, f"a cycle among {sorted(left)}"
        left = {part: others for part, others in left.items() if part not in free}


def test_few_imports_between_packages_of_the_collector():
    """The packages of the collector are coupled by a limited number of imports."""
    assert sum(len(others) for others in collector_imports().values()) <= MAX_ARROWS


@pytest.mark.parametrize("package", sorted(path.parent.name for path in (ROOT / "collector").glob("*/__init__.py")))
def test_packages_of_the_collector_are_small(package):
    """A package has few modules; ``formats`` has one per format."""
    modules = [path for path in (ROOT / "collector" / package).glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES or package == "formats"


@pytest.mark.parametrize("path", DAGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_dags_call_quality_and_the_database_and_no_other_of_this_project(path):
    """DAGs call the collector as a command, nothing imports a DAG, and ``airflow`` is the installed package."""
    ours = {name.split(".")[0] for name in imported(path)} & OURS - {"airflow"}
    assert ours <= {"core", "quality", "warehouse"}
    assert not (ROOT / "airflow" / "__init__.py").exists()


@pytest.mark.parametrize("path", DAGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_dag_is_taken_for_a_plugin_of_dbt(path):
    """No DAG is named ``dbt_*``: dbt imports every top-level module with such a name."""
    assert not path.stem.startswith("dbt_")


def test_test_files_have_unique_names():
    """Pytest imports test files by their name alone: two with one name stop the whole suite."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("__init__.py", "conftest.py")]
    assert [name for name, number in Counter(names).items() if number > 1] == []
