"""Queries of the lists that come from one table, of the catalog, and of the accounting."""

from datetime import date, datetime
from typing import Any

from psycopg import sql

from access.database import Database
from access.listing.pages import Table
from access.listing.params import (
    AnomaliesParams,
    ChecksParams,
    LoadCyclesParams,
    PeriodParams,
    QualityDaysParams,
    ResultsParams,
    SensorsParams,
    SeriesParams,
)
from access.openapi.models import Accounting, Anomaly, Check, LoadCycle, QualityDay, Sensor, columns

_SENSORS = sql.SQL("""(
    select
        sensor.*,
        coalesce(
            (
                select
                    jsonb_agg(
                        jsonb_build_object(
                            'quantity', series.quantity,
                            'unit', series.unit,
                            'minimum', series.minimum,
                            'maximum', series.maximum,
                            'interval_seconds', series.interval_seconds,
                            'kind', series.kind,
                            'series_id', series.series_id,
                            'retired_at', series.retired_at
                        )
                        order by series.quantity
                    )
                from telemetry.series
                where series.sensor_id = sensor.sensor_id
            ),
            '[]'
        ) as series
    from telemetry.sensor
) as sensor""")

# The recursion finds the last scan of each contract by the index, however many results there are.
_LAST_RESULTS = sql.SQL("""(
    with recursive contracts as (
        select min(contract) as contract from quality.check_result
        union all
        select (select min(contract) from quality.check_result where contract > contracts.contract)
        from contracts
        where contract is not null
    ),

    scans as (
        select
            contract,
            (select max(checked_at) from quality.check_result where contract = contracts.contract) as checked_at
        from contracts
        where contract is not null
    )

    select result.*, series.quantity
    from scans
    inner join quality.check_result as result
        on scans.contract = result.contract and scans.checked_at = result.checked_at
    left join telemetry.series on result.series_id = series.series_id
) as result""")
_RESULTS = sql.SQL("""(
    select result.*, series.quantity
    from quality.check_result as result
    left join telemetry.series on result.series_id = series.series_id
) as result""")


class _Conditions:
    """Conditions of a query, with the values of their placeholders."""

    def __init__(self) -> None:
        self.conditions: list[sql.Composable] = []
        self.values: dict[str, Any] = {}

    def add(self, condition: str, **values: Any) -> None:
        """Add ``condition`` if all ``values`` are set; None and an empty list are not."""
        if all(value not in (None, []) for value in values.values()):
            self.conditions.append(sql.SQL(condition))
            self.values |= values


def sensors(params: SensorsParams) -> Table:
    """Return the sensors of the registry."""
    where = _Conditions()
    where.add("sensor_id = any(%(sensor)s::text[])", sensor=params.sensor)
    where.add("site = %(site)s::text", site=params.site)
    where.add("area = %(area)s::text", area=params.area)
    where.add("type = %(type)s::text", type=params.type)
    if not params.retired:
        where.add("retired_at is null")
    return Table(columns(Sensor), _SENSORS, {"sensor_id": str}, where.conditions, where.values)


def last_checks(params: ChecksParams) -> Table:
    """Return the results of the last scan of each contract."""
    where = _check_conditions(params)
    return Table(columns(Check), _LAST_RESULTS, {"contract": str, "id": int}, where.conditions, where.values)


def results(params: ResultsParams) -> Table:
    """Return the results of scans in a period, newest first."""
    where = _check_conditions(params)
    where.add("checked_at >= %(begin)s and checked_at < %(end)s", begin=params.from_, end=params.to)
    key = {"checked_at": datetime, "id": int}
    return Table(columns(Check), _RESULTS, key, where.conditions, where.values, descending=True)


def _check_conditions(params: ChecksParams) -> _Conditions:
    where = _Conditions()
    where.add("contract = any(%(contract)s::text[])", contract=params.contract)
    where.add("sensor_id = any(%(sensor)s::text[])", sensor=params.sensor)
    if params.outcome is not None:
        where.add("outcome like %(outcome)s::text", outcome=f"{params.outcome}%")
    return where


def quality_days(params: QualityDaysParams) -> Table:
    """Return the quality indicator by day and sensor."""
    where = _Conditions()
    where.add("day >= %(first)s::date and day <= %(last)s::date", **_day_range(params))
    where.add("bucket >= %(begin)s and bucket < %(end)s", begin=params.from_, end=params.to)
    where.add("sensor_id = any(%(sensor)s::text[])", sensor=params.sensor)
    where.add("quality < %(below)s", below=params.below)
    source = sql.SQL("marts.fct_quality_day")
    return Table(columns(QualityDay), source, {"day": date, "sensor_id": str}, where.conditions, where.values)


def load_cycles(params: LoadCyclesParams) -> Table:
    """Return the load cycles that started in a period."""
    where = _start_conditions(params)
    where.add("is_complete = %(complete)s", complete=params.complete)
    key = {"started_at": datetime, "series_id": int}
    return Table(columns(LoadCycle), sql.SQL("marts.fct_load_cycle"), key, where.conditions, where.values)


def anomalies(params: AnomaliesParams) -> Table:
    """Return the anomalies that began in a period."""
    where = _start_conditions(params)
    where.add("kind = %(kind)s::text", kind=params.kind)
    where.add("is_open = %(open)s", open=params.open)
    key = {"started_at": datetime, "series_id": int, "kind": str}
    return Table(columns(Anomaly), sql.SQL("marts.fct_anomaly"), key, where.conditions, where.values)


def _start_conditions(params: SeriesParams) -> _Conditions:
    where = _Conditions()
    # The condition on day uses the indexes.
    where.add("day >= %(first)s::date and day <= %(last)s::date", **_day_range(params))
    where.add("started_at >= %(begin)s and started_at < %(end)s", begin=params.from_, end=params.to)
    where.add("sensor_id = any(%(sensor)s::text[])", sensor=params.sensor)
    where.add("quantity = any(%(quantity)s::text[])", quantity=params.quantity)
    where.add("site = %(site)s::text", site=params.site)
    where.add("area = %(area)s::text", area=params.area)
    return where


def _day_range(params: PeriodParams) -> dict[str, date]:
    assert params.from_ is not None
    assert params.to is not None
    return {"first": params.from_.date(), "last": params.to.date()}


async def accounting(database: Database) -> dict[str, Any]:
    """Return the message accounting."""
    query = sql.SQL("select {} from telemetry.accounting").format(
        sql.SQL(", ").join(map(sql.Identifier, columns(Accounting)))
    )
    (row,) = await database.fetch(query)
    return dict(zip(columns(Accounting), row, strict=True))


async def relations(database: Database, name: str | None = None) -> list[dict[str, Any]]:
    """Return the tables and views that a reader role may read, or only ``name``, as models.Relation.

    Descriptions are the comments in the database.
    """
    return [relation for (relation,) in await database.fetch(_RELATIONS, {"name": name, "readers": list(_READERS)})]


_READERS = ("access_api", "bi_reader", "data_scientist", "quality_scanner", "transformer")
_RELATIONS = sql.SQL("""
    with relation as (
        select
            class.oid,
            namespace.nspname || '.' || class.relname as name,
            class.relkind in ('v', 'm') as is_view,
            pg_catalog.obj_description(class.oid, 'pg_class') as description,
            pg_catalog.pg_get_userbyid(class.relowner) as owner,
            array(
                select role.rolname::text
                from pg_catalog.pg_roles as role
                where role.rolname = any(%(readers)s) and pg_catalog.has_table_privilege(role.oid, class.oid, 'select')
                order by 1
            ) as readers
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on class.relnamespace = namespace.oid
        where
            namespace.nspname in ('marts', 'quality', 'telemetry')
            and class.relkind in ('r', 'v', 'm', 'p', 'f')
            and class.relname not like 'rollup_%%'
            and (%(name)s::text is null or namespace.nspname || '.' || class.relname = %(name)s::text)
    )

    select
        jsonb_build_object(
            'name', relation.name,
            'kind', case when relation.is_view then 'view' else 'table' end,
            'description', relation.description,
            'owner', relation.owner,
            'readers', relation.readers,
            'columns', jsonb_agg(
                jsonb_build_object(
                    'name', attribute.attname,
                    'type', pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
                    'nullable', not attribute.attnotnull,
                    'description', pg_catalog.col_description(relation.oid, attribute.attnum)
                )
                order by attribute.attnum
            )
        )
    from relation
    inner join pg_catalog.pg_attribute as attribute on relation.oid = attribute.attrelid
    where attribute.attnum > 0 and not attribute.attisdropped
    group by relation.oid, relation.name, relation.is_view, relation.description, relation.owner, relation.readers
    order by relation.name
""")
