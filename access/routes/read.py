"""Routes that read data."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from access.auth.bearer import require_scope
from access.database import Database
from access.listing import queries
from access.listing.params import (
    AnomaliesParams,
    ChecksParams,
    LoadCyclesParams,
    QualityDaysParams,
    ReadingsParams,
    ResultsParams,
    SensorsParams,
    WindowsParams,
)
from access.listing.readings import Readings
from access.listing.response import list_response
from access.listing.series import resolve
from access.listing.windows import Windows
from access.openapi import models
from access.openapi.responses import responses
from access.problems import ProblemError

router = APIRouter(dependencies=[Depends(require_scope("read"))])


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseDependency = Annotated[Database, Depends(_database)]


def _now() -> datetime:
    return datetime.now(UTC)


def _list_responses(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a list of ``model`` in its three formats, and the problems of a list and those with ``statuses``."""
    line = {"schema": {"type": "string", "description": "One row per line."}}
    described = responses(models.Page[model], 400, 401, 403, 406, 422, 429, 503, 504, *statuses)  # type: ignore[valid-type]
    described[200]["content"] = {"application/x-ndjson": line, "text/csv": line}
    return described


@router.get("/sensors", tags=["readings"], responses=_list_responses(models.Sensor), response_model=None)
async def sensors(
    request: Request, params: Annotated[SensorsParams, Query()], database: DatabaseDependency
) -> Response:
    """List the sensors with quantities, units, plausible ranges and locations."""
    return await list_response(request, params, queries.sensors(params), database)


@router.get("/readings", tags=["readings"], responses=_list_responses(models.Reading, 404), response_model=None)
async def readings(
    request: Request, params: Annotated[ReadingsParams, Query()], database: DatabaseDependency
) -> Response:
    """List raw readings of a period (default: the last 24 hours), ordered by sensor, quantity and time.

    A day of a sensor that reports every second has 86,400 rows: NDJSON or CSV return all of them in one response.
    `order=desc&limit=1` with one sensor returns its newest reading.
    """
    params = params.with_period(_now())
    assert params.from_ is not None
    assert params.to is not None
    series = await resolve(database, params.sensor, params.quantity, params.site, params.area)
    return await list_response(request, params, Readings(series, params.from_, params.to, params.order), database)


@router.get("/aggregates", tags=["readings"], responses=_list_responses(models.Window, 404), response_model=None)
async def aggregates(
    request: Request, params: Annotated[WindowsParams, Query()], database: DatabaseDependency
) -> Response:
    """Return average, minimum, maximum and count over windows of any width (default: the last 24 hours).

    `window=10s` returns consecutive windows of ten seconds, starting at `from`. `window=10s&step=1s` returns sliding
    windows, one per second. Windows without readings are omitted. If width, step, `from` and `to` are whole minutes,
    hours or days, the stored aggregates are used, which are fast over years and kept longer than raw readings.
    """
    params = params.with_period(_now())
    assert params.from_ is not None
    assert params.to is not None
    windows = Windows([], params.from_, params.to, params.window, params.step or params.window)
    series = await resolve(database, params.sensor, params.quantity, params.site, params.area)
    return await list_response(request, params, windows.with_series(series), database)


@router.get("/load-cycles", tags=["findings"], responses=_list_responses(models.LoadCycle), response_model=None)
async def load_cycles(
    request: Request, params: Annotated[LoadCyclesParams, Query()], database: DatabaseDependency
) -> Response:
    """List the load cycles that started in a period (default: the last 7 days)."""
    params = params.with_period(_now())
    return await list_response(request, params, queries.load_cycles(params), database)


@router.get("/anomalies", tags=["findings"], responses=_list_responses(models.Anomaly), response_model=None)
async def anomalies(
    request: Request, params: Annotated[AnomaliesParams, Query()], database: DatabaseDependency
) -> Response:
    """List the anomalies that began in a period (default: the last 7 days), with explanations."""
    params = params.with_period(_now())
    return await list_response(request, params, queries.anomalies(params), database)


@router.get("/quality", tags=["quality"], responses=_list_responses(models.Check), response_model=None)
async def quality(request: Request, params: Annotated[ChecksParams, Query()], database: DatabaseDependency) -> Response:
    """List the last result of every check of tables and of single sensors."""
    return await list_response(request, params, queries.last_checks(params), database)


@router.get("/quality/results", tags=["quality"], responses=_list_responses(models.Check), response_model=None)
async def quality_results(
    request: Request, params: Annotated[ResultsParams, Query()], database: DatabaseDependency
) -> Response:
    """List the results of checks in a period (default: the last 24 hours), newest first."""
    params = params.with_period(_now())
    return await list_response(request, params, queries.results(params), database)


@router.get("/quality/days", tags=["quality"], responses=_list_responses(models.QualityDay), response_model=None)
async def quality_days(
    request: Request, params: Annotated[QualityDaysParams, Query()], database: DatabaseDependency
) -> Response:
    """List the quality indicator (0 to 100) and its parts per sensor and day (default: the last 30 days).

    Returns the days (UTC) that begin in the period.
    """
    params = params.with_period(_now())
    return await list_response(request, params, queries.quality_days(params), database)


@router.get(
    "/catalog",
    tags=["catalog"],
    responses=responses(models.Page[models.Relation], 401, 403, 429, 503, 504),
    response_model=None,
)
async def catalog(database: DatabaseDependency) -> Response:
    """List the tables and views of the warehouse with grain, columns, owner and readers.

    The descriptions are the comments in the database. The catalog page (`make catalog`) also has sample queries and
    lineage.
    """
    return JSONResponse({"items": await queries.relations(database), "next": None})


@router.get(
    "/catalog/{name}",
    tags=["catalog"],
    responses=responses(models.Relation, 401, 403, 404, 422, 429, 503, 504),
    response_model=None,
)
async def catalog_entry(
    name: Annotated[str, InPath(description="Qualified name.", examples=["marts.fct_reading_day"])],
    database: DatabaseDependency,
) -> Response:
    """Describe one table or view."""
    relations = await queries.relations(database, name)
    if not relations:
        raise ProblemError("not-found", f"There is no table or view {name!r}; GET /catalog lists them.")
    return JSONResponse(relations[0])


@router.get(
    "/accounting",
    tags=["quality"],
    responses=responses(models.Accounting, 401, 403, 429, 503, 504),
    response_model=None,
)
async def accounting(database: DatabaseDependency) -> Response:
    """Return the message accounting: messages = decoded + ignored + quarantined, and the same for readings."""
    return JSONResponse(await queries.accounting(database))
