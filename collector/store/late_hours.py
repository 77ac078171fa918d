"""Late hours: the past hours of series that a batch adds readings to, recorded for incremental computations.

An hourly computation then processes only the newest hours and those recorded in ``telemetry.late_hour``, which is
written in the transaction that stores the readings. All rows of a batch count, duplicates too: a redelivered message or
a file loaded twice records its past hours again, and the next computation repeats them with the same result. See
docs/decisions/0007-incremental-marts.md.
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
"""The columns of :data:`collector.store.batch.ROW` that are needed here, as a numpy type."""
_TIME_AND_SERIES = struct.Struct(f">6xq4xi{ROW.size - 22}x")
"""The same without numpy."""

# The database's clock decides which hours are late: a build takes its start from the same clock. Sorted, so that
# writers don't deadlock. An hour recorded less than a minute ago is not updated: a load has hundreds of batches for it.
_RECORD = """
insert into telemetry.late_hour as recorded (series_id, bucket, noted_at)
select series_id, to_timestamp(hour * 3600.0), clock_timestamp()
from unnest(%s::integer[], %s::bigint[]) as late (series_id, hour)
where to_timestamp(hour * 3600.0) < date_trunc('hour', clock_timestamp() - interval '2 hours', 'UTC')
order by series_id, hour
on conflict (series_id, bucket) do update set noted_at = excluded.noted_at
where recorded.noted_at < excluded.noted_at - interval '1 minute'
"""


def load_numpy() -> None:
    """Import numpy before the first batch: it takes a tenth of a second, and only programs that write need it."""
    _numpy()


def hours_before(rows: bytes | bytearray, before: int) -> tuple[list[int], list[int]]:
    """Return the distinct (series, hour) of ``rows`` with an hour less than ``before``, sorted, as two lists.

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
    # Series and hour in one number, which sorts ten times faster than pairs; the shift keeps hours before 1970 in
    # order. Late readings come in runs of one hour, of which one is enough.
    keys = (table["series_id"][late].astype(np.int64) << 32) + hour + 2**31
    keys = np.unique(keys[np.concatenate(([True], keys[1:] != keys[:-1]))])
    return (keys >> 32).tolist(), ((keys & (2**32 - 1)) - 2**31).tolist()


def has_before(rows: bytes | bytearray, time: int) -> bool:
    """Return whether one of ``rows``, as in :func:`hours_before`, is before ``time``, in microseconds since 1970."""
    bound = time - POSTGRES_EPOCH
    np = _numpy()
    if np is None:
        return any(row_time < bound for row_time, _ in _TIME_AND_SERIES.iter_unpack(rows))
    return bool((np.frombuffer(rows, np.dtype(_ROWS))["time"] < bound).any())


def series_of(rows: bytes | bytearray) -> list[int]:
    """Return the distinct series of ``rows``, as in :func:`hours_before`, sorted."""
    np = _numpy()
    if np is None:
        return sorted({series for _, series in _TIME_AND_SERIES.iter_unpack(rows)})
    return np.unique(np.frombuffer(rows, np.dtype(_ROWS))["series_id"]).tolist()  # type: ignore[no-any-return]


def record(cursor: psycopg.Cursor[Any], rows: bytes | bytearray) -> None:
    """Record in ``telemetry.late_hour`` the hours of ``rows`` that ended two hours ago or earlier."""
    # One hour more than the statement's own bound, to tolerate a clock that differs from the database's.
    series_ids, hours = hours_before(rows, int(time.time()) // 3600 - 1)
    if hours:
        cursor.execute(_RECORD, (series_ids, hours))


def _numpy() -> Any:
    """Return numpy, or None if it is not installed: the collector's image is half the size without it.

    With numpy it is four times as fast if all readings are late, as in a load, and saves 0.1 µs per live reading.
    """
    try:
        import numpy as np  # noqa: PLC0415 - see load_numpy
    except ModuleNotFoundError:
        return None
    return np
