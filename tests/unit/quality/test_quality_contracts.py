"""The contract files: one per table, complete, and each check with a unique name."""

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
    return yaml.safe_load((contracts.BUNDLED / f"{name}.yml").read_text())


def checks(name: str) -> list[tuple[str, str, dict]]:
    """Return (column, kind, definition) of each check of a contract."""
    content = read(name)
    holders = [("", content), *((column["name"], column) for column in content["columns"])]
    return [
        (column, kind, body or {})
        for column, holder in holders
        for check in holder.get("checks", [])
        for kind, body in check.items()
    ]


def test_every_source_and_mart_has_a_contract():
    """There is a contract for each source and mart, and no other."""
    assert contracts.names() == sorted(SOURCES + MARTS)


@pytest.mark.parametrize("name", ALL)
def test_a_contract_is_named_after_its_table(name):
    """Its dataset is that table in the configured database."""
    schema = "telemetry" if name in SOURCES else "marts"
    assert read(name)["dataset"] == f"warehouse/${{var.DATABASE}}/{schema}/{name}"


@pytest.mark.parametrize("name", ALL)
def test_a_contract_has_every_kind_of_check(name):
    """Schema, missing values, ranges or valid values, duplicates, freshness, row counts, references, reconciliation."""
    declared = checks(name)
    kinds = {kind for _, kind, _ in declared}
    qualifiers = {str(body.get("qualifier", "")).split(" ")[0] for _, _, body in declared}
    assert {"schema", "missing", "invalid"} <= kinds
    assert "duplicate" in kinds or "duplicates" in qualifiers
    assert "reconciliation" in qualifiers
    assert "freshness" in qualifiers or name == "quarantine"
    assert {"row", "reference"} & qualifiers
    assert any(
        word in str(body) for _, _, body in declared for word in ("registry", "telemetry.", "dim_", "intermediate.")
    )


@pytest.mark.parametrize("name", ALL)
def test_checks_have_unique_names(name):
    """Column and name are unique in a contract: they identify trend and incidents."""
    names = Counter((column, body.get("name", kind)) for column, kind, body in checks(name))
    assert [check for check, number in names.items() if number > 1] == []
    unnamed = [kind for _, kind, body in checks(name) if kind in ("failed_rows", "metric") and "name" not in body]
    assert unnamed == []


@pytest.mark.parametrize("name", MARTS)
def test_a_contract_has_the_columns_of_its_mart(name):
    """All columns, with the types that dbt enforces, in the same order."""
    files = (ROOT / "dbt_project" / "models" / "marts").rglob("_*.yml")
    models = {model["name"]: model for path in files for model in yaml.safe_load(path.read_text()).get("models", [])}
    declared = [(column["name"], column["data_type"]) for column in models[name]["columns"]]
    assert [(column["name"], column["data_type"]) for column in read(name)["columns"]] == declared


def test_listing_names_imports_nothing_heavy():
    """The DAG processor lists the contracts without importing Soda or a driver; Airflow has loaded pydantic already."""
    code = (
        "import sys; from quality.contracts import names; names();"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'soda_core', 'psycopg', 'typer'}))"
    )
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert process.stdout.strip() == "[]"


def test_unknown_names_and_no_contracts_are_errors(tmp_path, monkeypatch):
    """An unknown name and an empty folder raise: a scan without checks must not pass."""
    with pytest.raises(ScanError, match=r"no such contract: x, y\. There are dim_date"):
        contracts.paths(["x", "reading", "y"])
    monkeypatch.setenv("QUALITY_CONTRACTS", str(tmp_path))
    with pytest.raises(ScanError, match="no contracts in"):
        contracts.paths(None)


def test_a_name_given_twice_is_scanned_once():
    """Duplicate names are scanned once, in the requested order."""
    assert [path.stem for path in contracts.paths(["reading", "intake", "reading"])] == ["reading", "intake"]


def test_one_module_uses_soda():
    """A change of Soda's API affects only quality/soda.py."""
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
