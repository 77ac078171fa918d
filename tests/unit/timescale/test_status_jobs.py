"""The result of a job is the same in the tables and in the JSON document of ``timescale status``."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from timescale import status
from timescale.retention import Retention

PORTAL = 'cannot drop portal ""'


def state(job: status.Job) -> status.Status:
    """Return a state with one job."""
    return status.Status(
        "timescaledb", "15.20", "2.25.2", "warehouse", 1, "0001", "0001", 1, 1, 1, True, Retention(), None, None, (),
        (job,), dict.fromkeys((
            "messages", "decoded", "ignored", "quarantined_messages", "readings", "stored", "duplicate", "replaced",
            "quarantined_readings",
        ), 0), True, {}, (),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "text", "document"),
    [
        (f"{PORTAL}", "done *", {"last_status": "Success", "last_error": None, "note": PORTAL}),
        ("out of memory", "out of memory", {"last_status": "Failed", "last_error": "out of memory", "note": None}),
    ],
)
def test_text_and_json_agree(error, text, document):
    """A run whose work is committed is a success in both; a failed one is failed in both."""
    row = {"name": "refresh_rollups", "every_seconds": 30.0, "last_run": datetime(2026, 3, 1, tzinfo=UTC),
           "last_status": "Failed", "runs": 5, "failures": 0, "last_error": error}  # fmt: skip
    shown = state(status.Job.of(row))
    (job,) = json.loads(json.dumps(shown.document()))["jobs"]
    assert document.items() <= job.items()
    output = Console(file=io.StringIO(), width=200)
    status.show(shown, output)
    assert text in output.file.getvalue()
