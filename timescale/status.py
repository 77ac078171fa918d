"""The state of the database, for ``timescale status``: as tables or as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table

from core.database import Connection, wrapped_errors
from local_services.postgres_binaries import Edition
from timescale import retention
from timescale.migrate import edition, head, revision
from timescale.retention import ExpiredChunk, Retention

LEVELS = ("reading_1m", "reading_1h", "reading_1d")

_COUNT_BELOW = 1_000_000
"""Below this estimate rows are counted: statistics lag behind, and counting so few rows is fast."""

# TimescaleDB 2.25.2 on PostgreSQL 15.20 reports this for every job, including its own: it drops the job's portal after
# the commit without having defined it. The schedule is fixed, so that the "failure" delays no later run.
_PORTAL = 'cannot drop portal ""'
_DONE_WITH_NOTE = "done *"


@dataclass(frozen=True)
class Aggregate:
    """One level of means; ``until`` and ``lag_seconds`` are None where a trigger keeps it exact."""

    name: str
    kept_by: str
    until: datetime | None = None
    lag_seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """One scheduled job of the database."""

    name: str
    every_seconds: float
    last_run: datetime | None
    last_status: str | None
    """Success or Failed; None: it has not run."""
    runs: int
    failures: int
    last_error: str | None
    note: str | None = None
    """A message of TimescaleDB about a run whose work is done."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the job of a row of the query; its run is done where only the check of the portal failed."""
        error = row["last_error"]
        if error is not None and error.startswith(_PORTAL):
            return cls(**{**row, "last_status": "Success", "last_error": None, "note": error})
        return cls(**row)


@dataclass(frozen=True)
class Chunks:
    """Chunks of raw readings, and the sizes in bytes of those in the columnstore, before and after compression."""

    total: int
    compressed: int
    before_bytes: int
    after_bytes: int


@dataclass(frozen=True)
class Status:
    """The state of a database."""

    edition: Edition
    postgresql_version: str
    timescaledb_version: str | None
    database: str
    size_bytes: int
    revision: str
    newest_revision: str
    sensors: int
    series: int
    readings: int
    readings_exact: bool
    retention: Retention
    oldest_accepted: datetime | None
    chunks: Chunks | None
    aggregates: tuple[Aggregate, ...]
    jobs: tuple[Job, ...]
    accounts: Mapping[str, int]
    balanced: bool
    quarantine: Mapping[str, int]
    """Number of open rows by reason."""
    due: tuple[ExpiredChunk, ...]
    """Raw readings older than the retention, and the reasons that block them."""

    def document(self) -> dict[str, Any]:
        """Return it as values for JSON; times in ISO 8601."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def status(connection: Connection, *, exact: bool = False) -> Status:
    """Read the state of the database; ``exact`` counts every reading instead of estimating their number."""
    database_edition = edition(connection)
    with wrapped_errors("status"):
        timescaledb = database_edition == "timescaledb"
        facts = _row(connection, _FACTS)
        accounts = _row(connection, "select * from telemetry.accounting")
        balanced = bool(accounts.pop("balanced"))
        readings, readings_exact = _count(connection, timescaledb=timescaledb, exact=exact)
        return Status(
            edition=database_edition,
            revision=revision(connection) or "",
            newest_revision=head(),
            readings=readings,
            readings_exact=readings_exact,
            chunks=Chunks(**_row(connection, _CHUNKS)) if timescaledb else None,
            aggregates=_aggregates(connection, timescaledb=timescaledb),
            jobs=tuple(map(Job.of, _rows(connection, _JOBS))) if timescaledb else (),
            accounts=accounts,
            balanced=balanced,
            due=retention.expired_chunks(connection),
            retention=Retention(**_row(connection, _RETENTION)),
            quarantine={row["reason"]: row["number"] for row in _rows(connection, _QUARANTINE)},
            **facts,
        )


def show(state: Status, console: Console) -> None:
    """Print a status as tables."""
    engine = f"PostgreSQL {state.postgresql_version}"
    if state.timescaledb_version:
        engine += f" with TimescaleDB {state.timescaledb_version}"
    behind = "" if state.revision == state.newest_revision else f"; run `timescale migrate` for {state.newest_revision}"
    about = "" if state.readings_exact else "about "
    rows = [
        ("edition", f"{state.edition} ({engine})"),
        ("database", f"{state.database}, {_size(state.size_bytes)}, revision {state.revision}{behind}"),
        ("sensors", f"{state.sensors:,} with {state.series:,} series"),
        ("readings", f"{about}{state.readings:,}; raw readings are kept {state.retention}"),
    ]
    if state.chunks:
        chunks = state.chunks
        saved = f": {_size(chunks.before_bytes)} became {_size(chunks.after_bytes)}" if chunks.compressed else ""
        rows.append(("chunks", f"{chunks.total:,}, {chunks.compressed:,} in the columnstore{saved}"))
    open_rows = ", ".join(f"{number:,} {reason}" for reason, number in state.quarantine.items()) or "nothing open"
    accounts = state.accounts
    rows += [
        ("messages", _sum(accounts, "messages", "decoded", "ignored", "quarantined_messages")),
        ("accounts", _sum(accounts, "readings", "stored", "duplicate", "replaced", "quarantined_readings")),
        ("quarantine", open_rows),
        ("balanced", "yes" if state.balanced else "NO: telemetry.accounting shows by how much"),
    ]
    _print(console, ("", ""), rows, header=False)
    _print(console, ("means", "up to", "lag", "kept by"), [
        (level.name, _instant(level.until), "-" if level.lag_seconds is None else _duration(level.lag_seconds),
         level.kept_by)
        for level in state.aggregates
    ])  # fmt: skip
    if state.due:
        console.print("[bold]raw readings older than the retention[/bold]")
        console.print("\n".join(retention.describe(state.due)), markup=False, highlight=False)
        console.print()
    if state.jobs:
        _print(console, ("job", "every", "last run", "result", "runs", "failed"), [
            (job.name, _duration(job.every_seconds), _instant(job.last_run), _result(job), f"{job.runs:,}",
             f"{job.failures:,}")
            for job in state.jobs
        ])  # fmt: skip
        if any(_result(job) == _DONE_WITH_NOTE for job in state.jobs):
            console.print('* The work is committed; then this TimescaleDB fails a check of newer PostgreSQL minor '
                          f'versions ("{_PORTAL}"). A newer TimescaleDB does not report it.')  # fmt: skip


def _result(job: Job) -> str:
    if job.note is not None:
        return _DONE_WITH_NOTE
    return job.last_error or job.last_status or "-"


def _count(connection: Connection, *, timescaledb: bool, exact: bool) -> tuple[int, bool]:
    if not exact:
        estimate = int(_row(connection, _ESTIMATE_CHUNKS if timescaledb else _ESTIMATE)["number"])
        if estimate >= _COUNT_BELOW:
            return estimate, False
    return int(_row(connection, "select count(*) as number from telemetry.reading")["number"]), True


def _aggregates(connection: Connection, *, timescaledb: bool) -> tuple[Aggregate, ...]:
    if not timescaledb:
        return tuple(Aggregate(name, "trigger") for name in LEVELS)
    by_name = {row["name"]: row for row in _rows(connection, _WATERMARKS)}
    return tuple(Aggregate(kept_by="job, newer ones at query time", **by_name[name]) for name in LEVELS)


def _rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def _row(connection: Connection, query: str) -> dict[str, Any]:
    return _rows(connection, query)[0]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _print(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> None:
    table = Table(box=None, show_header=header, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _sum(accounts: Mapping[str, int], whole: str, *parts: str) -> str:
    named = " + ".join(f"{accounts[part]:,} {part.removesuffix(f'_{whole}')}" for part in parts)
    return f"{accounts[whole]:,} {whole} = {named}"


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(number) < 1024:  # noqa: PLR2004 - as PostgreSQL counts
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


def _instant(when: datetime | None) -> str:
    return "-" if when is None else f"{when:%Y-%m-%d %H:%M:%S}Z"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


_FACTS = """
    select
        current_setting('server_version') as postgresql_version,
        (select extversion from pg_catalog.pg_extension where extname = 'timescaledb') as timescaledb_version,
        current_database() as database,
        pg_catalog.pg_database_size(current_database()) as size_bytes,
        (select count(*) from telemetry.sensor where retired_at is null) as sensors,
        (select count(*) from telemetry.series where retired_at is null) as series,
        telemetry.oldest_accepted() as oldest_accepted
"""
_RETENTION = "select keep_days, archived_sources, scanned, quarantine_days from telemetry.retention"
_ESTIMATE = "select reltuples::bigint as number from pg_catalog.pg_class where oid = 'telemetry.reading'::regclass"
_ESTIMATE_CHUNKS = "select public.approximate_row_count('telemetry.reading') as number"
_QUARANTINE = """
    select reason, count(*) as number from telemetry.quarantine
    where replayed_at is null and discarded_at is null
    group by reason order by reason
"""
_CHUNKS = """
    select
        coalesce(max(total_chunks), 0) as total,
        coalesce(max(number_compressed_chunks), 0) as compressed,
        coalesce(max(before_compression_total_bytes), 0) as before_bytes,
        coalesce(max(after_compression_total_bytes), 0) as after_bytes
    from public.hypertable_columnstore_stats('telemetry.reading')
"""
# The watermark has no public view; the views of the aggregates call these two functions too. Before the first refresh
# it is in 4714 BC.
_WATERMARKS = """
    with watermarks as (
        select
            user_view_name as name,
            _timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(mat_hypertable_id)) as watermark
        from _timescaledb_catalog.continuous_agg
        where user_view_schema = 'telemetry'
    ),
    known as (
        select name, case when watermark > '0001-01-01 00:00+00' then watermark end as until from watermarks
    )
    select
        name,
        until,
        case when until is not null then extract(epoch from now() - least(until, now()))::double precision end
            as lag_seconds
    from known
"""
_JOBS = """
    select
        case
            when jobs.hypertable_name is null then jobs.proc_name
            else jobs.proc_name || ' of ' || jobs.hypertable_name
        end as name,
        extract(epoch from jobs.schedule_interval)::double precision as every_seconds,
        case when isfinite(stats.last_run_started_at) then stats.last_run_started_at end as last_run,
        stats.last_run_status as last_status,
        coalesce(stats.total_runs, 0) as runs,
        greatest(coalesce(stats.total_failures, 0) - (
            select count(*) from timescaledb_information.job_errors as errors
            where errors.job_id = jobs.job_id and errors.err_message like 'cannot drop portal ""%'
        ), 0) as failures,
        case
            when stats.last_run_status = 'Failed' then (
                select errors.err_message from timescaledb_information.job_errors as errors
                where errors.job_id = jobs.job_id order by errors.finish_time desc limit 1
            )
        end as last_error
    from timescaledb_information.jobs as jobs
    left join timescaledb_information.job_stats as stats on jobs.job_id = stats.job_id
    where jobs.hypertable_schema = 'telemetry' or jobs.proc_schema = 'telemetry'
    order by jobs.job_id
"""
