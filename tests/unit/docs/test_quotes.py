"""Quotes of program output in the documentation: the programs contain these texts."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAMS = ("access", "collector", "core", "local_services", "quality", "simulator", "timescale")


def texts(folder: str) -> list[str]:
    """Return each text of a package's modules; ``…`` replaces the values in a formatted one."""
    constants = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                constants.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                constants.append(node.value)
    return constants


@pytest.fixture(scope="module")
def output() -> str:
    """Return all texts of the programs, one after the other."""
    return "\n".join(text for name in PROGRAMS for text in texts(name))


def page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (ROOT / "docs" / name).read_text()


def log_lines() -> list[str]:
    """Return the log lines and messages that pages quote."""
    errors = page("kafka.md").split("## Errors")[1]
    quoted = re.findall(r"^\| `([^`]+)`", errors, re.MULTILINE)
    quoted += re.findall(r"[Tt]he log line is\s+`([^`]+)`", page("archive.md"))
    quoted += re.findall(r"the line \"([^\"]+)\"", page("monitoring.md"))
    quoted += re.findall(r"\"parameter\": \"\w+\", \"detail\": \"([^\"]+)\"", page("access.md"))
    return quoted


def test_every_page_with_quotes_is_searched():
    """The patterns find the quotes."""
    assert len(log_lines()) >= 9


@pytest.mark.parametrize("quote", log_lines())
def test_log_lines_exist(quote, output):
    """Each log line or message that a page quotes is in the code; ``…`` matches any value."""
    pattern = "[^\n]*".join(re.escape(part.strip()) for part in quote.split("…"))
    assert re.search(pattern, output)


@pytest.mark.parametrize("name", ["../README.md", "first-look.md"])
def test_summary_of_the_demo(name):
    """The labels and phrases of the demo's summary are those that it prints."""
    summary = "\n".join(texts("simulator"))
    lines = re.findall(r"^(Database|Broker|Readings|Accounts|Quarantine|Delay) {2,}(.*)$", page(name), re.MULTILINE)
    assert len(lines) >= 4
    for label, values in lines:
        assert re.search(rf"^{label} +…", summary, re.MULTILINE), label
        for phrase in re.findall(r"[a-z]{4,}(?: [a-z]+)*", values):
            if label not in {"Database", "Broker"}:
                assert phrase in summary, label
