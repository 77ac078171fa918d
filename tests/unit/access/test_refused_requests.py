"""The log lines about refused requests."""

import structlog

from access.auth.audit import LINES, Audit


def test_lines_are_limited():
    """A thousand refused requests in a minute give ten lines; the next minute's first line counts the others."""
    now = [0.0]
    audit = Audit(lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for number in range(1000):
            audit.refused(401, "unknown", client="127.0.0.1", method="GET", path=f"/{number}" + "x" * 10_000)
        now[0] = 61
        audit.refused(403, "scope", client="127.0.0.1", method="GET", path="/")
    assert len(lines) == LINES + 1
    assert lines[-1]["others"] == 1000 - LINES
    assert max(len(str(line)) for line in lines) < 1000
