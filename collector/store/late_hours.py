"""Late hours: which hours of which series a batch reaches back to, noted for those who compute from readings.

What is computed hour by hour need look only at the newest hours, and at those noted in ``telemetry.late_hour``: it is
written in the transaction that stores the readings. See docs/decisions/0007-incremental-marts.md.
"""

import struct
import time
from typing import Any

import psycopg

from collector.store.batch import POSTGRES_EPOCH, ROW

_HOUR = 3_600_000_000
_ROWS = [
    ("fields", ">i2"),
    ("time_length", ">i4"),
    ("time", ">i8"),
    ("series_length", ">i4"),
    ("series_id", ">i4"),
    ("rest", f"V{ROW.size - 22}"),
]
"""The columns of :data:`collector.store.batch.ROW` that count here, as numpy names them."""
_TIME_AND_SERIES = struct.Struct(f">6xq4xi{ROW.size - 22}x")
"""The same, for Python alone."""

# The database's clock decides what is late: it also tells a build where to begin. Sorted, so that writers don't wait in
# a circle; what was noted within the minute is left alone, since a load brings hundreds of batches for the same hours.
_NOTE = """
insert into telemetry.late_hour as kept (series_id, bucket, noted_at)
select series_id, to_timestamp(hour * 3600.0), clock_timestamp()
from unnest(%s::integer[], %s::bigint[]) as late (series_id, hour)
where to_timestamp(hour * 3600.0) < date_trunc('hour', clock_timestamp() - interval '2 hours', 'UTC')
order by series_id, hour
on conflict (series_id, bucket) do update set noted_at = excluded.noted_at
where kept.noted_at < excluded.noted_at - interval '1 minute'
"""


def prepare() -> None:
    """Load what :func:`hours` needs: a tenth of a second that the first batch need not wait, nor who writes nothing."""
    _numpy()


def hours(rows: bytes | bytearray, before: int) -> tuple[list[int], list[int]]:
    """Return the distinct series and hours of ``rows`` whose hour is less than ``before``, sorted by both.

    ``rows`` are those of :class:`collector.store.batch.Batch`; hours count from 1970.
    """
    bound = before * _HOUR - POSTGRES_EPOCH
    np = _numpy()
    if np is None:
        pairs = {
            (series, (time + POSTGRES_EPOCH) // _HOUR)
            for time, series in _TIME_AND_SERIES.iter_unpack(rows)
            if time < bound
        }
        ordered = sorted(pairs)
        return [series for series, _ in ordered], [hour for _, hour in ordered]
    table = np.frombuffer(rows, np.dtype(_ROWS))
    times = table["time"].astype(np.int64)
    late = times < bound
    if not late.any():
        return [], []
    hour = (times[late] + POSTGRES_EPOCH) // _HOUR
    # Both in one number, which sorts ten times faster than pairs; the shift keeps hours before 1970 in order. What
    # comes late comes in runs of one hour, of which one is enough.
    both = (table["series_id"][late].astype(np.int64) << 32) + hour + 2**31
    both = np.unique(both[np.concatenate(([True], both[1:] != both[:-1]))])
    return (both >> 32).tolist(), ((both & (2**32 - 1)) - 2**31).tolist()


def note(cursor: psycopg.Cursor[Any], rows: bytes | bytearray) -> None:
    """Note in ``telemetry.late_hour`` the hours of ``rows`` that ended two hours ago or earlier."""
    # An hour sooner than the statement's own bound, so that a clock that differs from the database's does no harm.
    series_ids, late = hours(rows, int(time.time()) // 3600 - 1)
    if late:
        cursor.execute(_NOTE, (series_ids, late))


def _numpy() -> Any:
    """Return numpy, or None where it is not installed: a collector's image is half its size without it.

    Four times as fast where all is late, as in a load; of what is read live it saves 0.1 µs a reading.
    """
    try:
        import numpy as np  # noqa: PLC0415 - see prepare
    except ModuleNotFoundError:
        return None
    return np
