"""The routes that read."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from access.auth.bearer import needs
from access.database import Database
from access.listing import queries
from access.listing.params import (
    AnomaliesAsked,
    ChecksAsked,
    CyclesAsked,
    QualityDaysAsked,
    ReadingsAsked,
    ResultsAsked,
    SensorsAsked,
    WindowsAsked,
)
from access.listing.response import listing
from access.listing.series import Readings, Windows, resolve
from access.openapi import models
from access.openapi.examples import answers
from access.problems import ProblemError

router = APIRouter(dependencies=[Depends(needs("read"))])


def _database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


Stored = Annotated[Database, Depends(_database)]


def _now() -> datetime:
    return datetime.now(UTC)


def _list_of(model: type[BaseModel], *more: int) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that is a list of ``model``, and what else may come."""
    line = {"schema": {"type": "string", "description": "One row a line."}}
    found = answers(models.Page[model], 400, 401, 403, 406, 422, 429, 503, 504, *more)  # type: ignore[valid-type]
    found[200]["content"] = {"application/x-ndjson": line, "text/csv": line}
    return found


@router.get("/sensors", tags=["readings"], responses=_list_of(models.Sensor), response_model=None)
async def sensors(request: Request, asked: Annotated[SensorsAsked, Query()], database: Stored) -> Response:
    """List the sensors, what each measures, in which unit and range, and where it is."""
    return await listing(request, asked, queries.sensors(asked), database)


@router.get("/readings", tags=["readings"], responses=_list_of(models.Reading, 404), response_model=None)
async def readings(request: Request, asked: Annotated[ReadingsAsked, Query()], database: Stored) -> Response:
    """List raw readings between two instants, by sensor, quantity and time; of the last 24 hours unless said otherwise.

    A day of a sensor that reports every second is 86,400 rows: ask for NDJSON or CSV and all come in one answer.
    `order=desc&limit=1` with one sensor is its newest reading.
    """
    settled = asked.settled(_now())
    assert settled.from_ is not None
    assert settled.to is not None
    series = await resolve(database, asked.sensor, asked.quantity, asked.site, asked.area)
    return await listing(request, settled, Readings(series, settled.from_, settled.to, asked.order), database)


@router.get("/aggregates", tags=["readings"], responses=_list_of(models.Window, 404), response_model=None)
async def aggregates(request: Request, asked: Annotated[WindowsAsked, Query()], database: Stored) -> Response:
    """Average, minimum, maximum and count over windows of any width; of the last 24 hours unless said otherwise.

    `window=10s` are windows of ten seconds, one after the other, counted from `from`. `window=10s&step=1s` slide: one
    starts every second. Windows without readings are left out. Where width, step, `from` and `to` are whole minutes,
    hours or days, the stored means answer, which is quick over years and outlives raw readings.
    """
    settled = asked.settled(_now())
    assert settled.from_ is not None
    assert settled.to is not None
    windows = Windows([], settled.from_, settled.to, asked.window, asked.step or asked.window)
    series = await resolve(database, asked.sensor, asked.quantity, asked.site, asked.area)
    return await listing(request, settled, windows.of(series), database)


@router.get("/load-cycles", tags=["findings"], responses=_list_of(models.LoadCycle), response_model=None)
async def load_cycles(request: Request, asked: Annotated[CyclesAsked, Query()], database: Stored) -> Response:
    """List the load cycles that started between two instants; of the last 7 days unless said otherwise."""
    settled = asked.settled(_now())
    return await listing(request, settled, queries.load_cycles(settled), database)


@router.get("/anomalies", tags=["findings"], responses=_list_of(models.Anomaly), response_model=None)
async def anomalies(request: Request, asked: Annotated[AnomaliesAsked, Query()], database: Stored) -> Response:
    """List what was out of the ordinary, and why; what began in the last 7 days unless said otherwise."""
    settled = asked.settled(_now())
    return await listing(request, settled, queries.anomalies(settled), database)


@router.get("/quality", tags=["quality"], responses=_list_of(models.Check), response_model=None)
async def quality(request: Request, asked: Annotated[ChecksAsked, Query()], database: Stored) -> Response:
    """List the last state of every check, of tables and of single sensors."""
    return await listing(request, asked, queries.last_checks(asked), database)


@router.get("/quality/results", tags=["quality"], responses=_list_of(models.Check), response_model=None)
async def quality_results(request: Request, asked: Annotated[ResultsAsked, Query()], database: Stored) -> Response:
    """List what checks have found between two instants, the newest first; in the last 24 hours unless told."""
    settled = asked.settled(_now())
    return await listing(request, settled, queries.results(settled), database)


@router.get("/quality/days", tags=["quality"], responses=_list_of(models.QualityDay), response_model=None)
async def quality_days(request: Request, asked: Annotated[QualityDaysAsked, Query()], database: Stored) -> Response:
    """List the quality indicator (0 to 100) of every sensor and day with its parts; 30 days unless said otherwise.

    Days in UTC that begin between the two instants.
    """
    settled = asked.settled(_now())
    return await listing(request, settled, queries.quality_days(settled), database)


@router.get(
    "/catalog",
    tags=["catalog"],
    responses=answers(models.Page[models.Relation], 401, 403, 429, 503, 504),
    response_model=None,
)
async def catalog(database: Stored) -> Response:
    """List every table and view of the warehouse: what a row is, its columns, who builds it, who may read it.

    From the database's own comments, so it is always as the database is. The catalog page (`make catalog`) has sample
    queries and lineage besides.
    """
    return JSONResponse({"items": await queries.relations(database), "next": None})


@router.get(
    "/catalog/{name}",
    tags=["catalog"],
    responses=answers(models.Relation, 401, 403, 404, 422, 429, 503, 504),
    response_model=None,
)
async def catalog_entry(
    name: Annotated[str, InPath(description="With its schema.", examples=["marts.fct_reading_day"])], database: Stored
) -> Response:
    """Describe one table or view."""
    found = await queries.relations(database, name)
    if not found:
        raise ProblemError("not-found", f"There is no table {name!r}; GET /catalog lists them.")
    return JSONResponse(found[0])


@router.get(
    "/accounting",
    tags=["quality"],
    responses=answers(models.Accounting, 401, 403, 429, 503, 504),
    response_model=None,
)
async def accounting(database: Stored) -> Response:
    """Say where every message and every reading went: messages = decoded + ignored + quarantined, and so on."""
    return JSONResponse(await queries.accounting(database))
