"""Late hours of a batch."""

import sys

import pytest

from collector.store import late_hours
from collector.store.batch import POSTGRES_EPOCH, ROW

HOUR = 3_600_000_000


@pytest.fixture(autouse=True, params=["numpy", "python"])
def numpy_or_not(request, monkeypatch):
    """Run each test with numpy, and as if it were not installed."""
    if request.param == "python":
        monkeypatch.setitem(sys.modules, "numpy", None)


def rows(*readings: tuple[int, int]) -> bytes:
    """Return rows of (series_id, microseconds since 1970)."""
    return b"".join(ROW.pack(4, 8, time - POSTGRES_EPOCH, 4, series, 8, 1.0, 8, 0) for series, time in readings)


def test_only_hours_before_the_bound_count():
    """A reading at the bound is not late, one a microsecond earlier is."""
    assert late_hours.hours_before(rows((1, 10 * HOUR), (2, 10 * HOUR - 1)), 10) == ([2], [9])


def test_hours_are_distinct_and_sorted():
    """Hours are distinct and sorted by series, then hour, also far before and after 1970."""
    batch = rows((7, 5 * HOUR), (2, 900_000 * HOUR + 3), (2, -3 * HOUR - 1), (7, 5 * HOUR + 1), (2**31 - 1, 0))
    assert late_hours.hours_before(batch, 10**6) == ([2, 2, 7, 2**31 - 1], [-4, 900_000, 5, 0])


def test_a_batch_without_rows_is_never_late():
    """A batch without rows has no late hours."""
    assert late_hours.hours_before(b"", 10) == ([], [])
