"""The contracts as files: one a table, whole, and each check with a name of its own."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from quality import contracts
from quality.errors import ScanError

ROOT = Path(__file__).parents[3]
MARTS = sorted(path.stem for path in (ROOT / "dbt_project" / "models" / "marts").rglob("*.sql"))
SOURCES = ["intake", "quarantine", "reading", "reading_1m"]
ALL = contracts.names()


def read(name: str) -> dict:
    """Return a contract."""
    return yaml.safe_load((contracts.HERE / f"{name}.yml").read_text())


def checks(name: str) -> list[tuple[str, str, dict]]:
    """Return (column, kind, what is said) of each check of a contract."""
    content = read(name)
    holders = [("", content), *((column["name"], column) for column in content["columns"])]
    return [
        (column, kind, body or {})
        for column, holder in holders
        for check in holder.get("checks", [])
        for kind, body in check.items()
    ]


def test_every_table_that_people_rely_on_has_a_contract():
    """The sources and every mart, and nothing else."""
    assert contracts.names() == sorted(SOURCES + MARTS)


@pytest.mark.parametrize("name", ALL)
def test_a_contract_is_about_the_table_it_is_named_after(name):
    """Its dataset is that table in the database that PG* name."""
    schema = "telemetry" if name in SOURCES else "marts"
    assert read(name)["dataset"] == f"warehouse/${{var.DATABASE}}/{schema}/{name}"


@pytest.mark.parametrize("name", ALL)
def test_a_contract_checks_what_there_is_to_check(name):
    """Schema, missing values, ranges or valid values, duplicates, freshness, row counts, references, reconciliation."""
    found = checks(name)
    kinds = {kind for _, kind, _ in found}
    qualifiers = {str(body.get("qualifier", "")).split(" ")[0] for _, _, body in found}
    assert {"schema", "missing", "invalid"} <= kinds
    assert "duplicate" in kinds or "duplicates" in qualifiers
    assert "reconciliation" in qualifiers
    assert "freshness" in qualifiers or name == "quarantine"
    assert {"row", "reference"} & qualifiers
    assert any(
        word in str(body) for _, _, body in found for word in ("registry", "telemetry.", "dim_", "intermediate.")
    )


@pytest.mark.parametrize("name", ALL)
def test_checks_have_names_of_their_own(name):
    """Name and column tell a check from the others of its contract: trend and incidents belong to them."""
    found = Counter((column, body.get("name", kind)) for column, kind, body in checks(name))
    assert [one for one, number in found.items() if number > 1] == []
    unnamed = [kind for _, kind, body in checks(name) if kind in ("failed_rows", "metric") and "name" not in body]
    assert unnamed == []


@pytest.mark.parametrize("name", MARTS)
def test_a_contract_has_the_columns_of_its_mart(name):
    """All of them, with the types that dbt enforces, in the same order."""
    files = (ROOT / "dbt_project" / "models" / "marts").rglob("_*.yml")
    models = {model["name"]: model for path in files for model in yaml.safe_load(path.read_text()).get("models", [])}
    declared = [(column["name"], column["data_type"]) for column in models[name]["columns"]]
    assert [(column["name"], column["data_type"]) for column in read(name)["columns"]] == declared


def test_the_names_cost_nothing():
    """Who plans scans asks for the names without importing Soda, a driver or settings."""
    code = (
        "import sys; from quality.contracts import names; names();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'soda_core', 'psycopg', 'pydantic', 'typer'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_unknown_names_and_no_contracts_are_errors(tmp_path, monkeypatch):
    """Nothing to check must not look like nothing wrong."""
    with pytest.raises(ScanError, match=r"no such contract: x, y\. There are dim_date"):
        contracts.chosen(["x", "reading", "y"])
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    with pytest.raises(ScanError, match="no contracts in"):
        contracts.chosen(None)


def test_a_name_given_twice_is_scanned_once():
    """And the order is the one that was asked for."""
    assert [path.stem for path in contracts.chosen(["reading", "intake", "reading"])] == ["reading", "intake"]


def test_one_module_touches_soda():
    """Its API may change without anything but quality/soda.py changing."""
    importing = {
        path.relative_to(ROOT).as_posix()
        for package in ("quality", "timescale", "collector", "simulator", "airflow", "bench")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.split(".")[0] in ("soda_core", "soda_postgres")
    }
    assert importing == {"quality/soda.py"}
