"""Audit of the locked packages, for all kinds of answers of the services."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
audit = importlib.util.module_from_spec(SPEC)
sys.modules["audit"] = audit
SPEC.loader.exec_module(audit)

LOCKED = """\
# made by uv
a==1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
    # via c
b==2.0 ; python_version < '3.12' \\
    --hash=sha256:02
"""
GOOD = {"name": "a", "version": "1.0", "vulns": []}
BAD = {"name": "b", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "b", "skip_reason": "not found"}


def service(**answers):
    """Make a query function that returns ``answers``; the first query is for one package only."""

    def ask(name, requirements):
        dependencies = answers.get(name)
        return dependencies and [entry for entry in dependencies if f"{entry['name']}==" in requirements]

    return ask


@pytest.mark.parametrize(
    ("answers", "status", "part"),
    [
        ({"pypi": [GOOD, {**BAD, "vulns": []}]}, 0, "2 packages, no known vulnerability"),
        ({"pypi": [GOOD, BAD]}, 1, "b 2.0: CVE-1, fixed in 2.1"),
        ({"pypi": None, "osv": [GOOD, BAD]}, 1, "CVE-1"),
        ({"pypi": [{**UNKNOWN, "name": "a"}, UNKNOWN], "osv": [GOOD, BAD]}, 1, "CVE-1"),
        ({"pypi": None, "osv": None}, 3, "no vulnerability service answers"),
        ({"pypi": [{**UNKNOWN, "name": "a"}, UNKNOWN]}, 3, "no vulnerability service answers"),
        ({"pypi": [GOOD, UNKNOWN]}, 3, "unknown to the service: ['b']"),
    ],
)
def test_audit_result(answers, status, part):
    """Only packages that a service knows count as audited; one vulnerability is enough to fail."""
    result = audit.audit(LOCKED, service(**answers))
    assert (result.exit_status, part in result.text()) == (status, True), result.text()


def test_a_failing_service_gets_one_query():
    """A service that does not answer never receives the list of packages."""
    queries = []
    audit.audit(LOCKED, lambda name, requirements: queries.append((name, requirements.count("=="))))
    assert queries == [("pypi", 1), ("osv", 1)]
