"""What an audit of the locked packages comes to, whatever the services say."""

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
    """Make what asks services that say ``answers``; the first question is about one package alone."""

    def ask(name, requirements):
        said = answers.get(name)
        return said and [one for one in said if f"{one['name']}==" in requirements]

    return ask


@pytest.mark.parametrize(
    ("answers", "status", "part"),
    [
        ({"pypi": [GOOD, {**BAD, "vulns": []}]}, 0, "2 packages, no known vulnerability"),
        ({"pypi": [GOOD, BAD]}, 1, "b 2.0: CVE-1, mended in 2.1"),
        ({"pypi": None, "osv": [GOOD, BAD]}, 1, "CVE-1"),
        ({"pypi": [{**UNKNOWN, "name": "a"}, UNKNOWN], "osv": [GOOD, BAD]}, 1, "CVE-1"),
        ({"pypi": None, "osv": None}, 3, "no vulnerability service answers"),
        ({"pypi": [{**UNKNOWN, "name": "a"}, UNKNOWN]}, 3, "no vulnerability service answers"),
        ({"pypi": [GOOD, UNKNOWN]}, 3, "nothing is known: ['b']"),
    ],
)
def test_the_verdict(answers, status, part):
    """Only packages that a service knows count as audited; one vulnerability is enough to fail."""
    found = audit.audit(LOCKED, service(**answers))
    assert (found.exit_status, part in found.text()) == (status, True), found.text()


def test_a_service_that_knows_nothing_is_asked_one_question():
    """Where nobody answers, no list of packages goes out."""
    asked = []
    audit.audit(LOCKED, lambda name, requirements: asked.append((name, requirements.count("=="))))
    assert asked == [("pypi", 1), ("osv", 1)]
