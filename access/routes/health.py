"""For who supervises the server: whether it lives, whether it can work, what it counts; and what problems mean."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from access.auth.bearer import needs
from access.database import Database
from access.ingest.publisher import Broker
from access.metrics import Metrics
from access.openapi.examples import problems
from access.problems import KINDS, ProblemError

router = APIRouter(tags=["server"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_WAITING: dict[int | str, dict[str, Any]] = {
    503: {"description": "What is waited for.", "content": _TEXT[200]["content"]}
}


@router.get("/live", responses=_TEXT, response_class=PlainTextResponse)
async def live() -> Response:
    """Answer 200 as long as the process runs. Needs no token."""
    return PlainTextResponse("alive\n")


@router.get("/ready", responses=_TEXT | _WAITING, response_class=PlainTextResponse)
async def ready(request: Request) -> Response:
    """Answer 200 while database and broker are there, else 503 and which is not. Needs no token."""
    database: Database = request.app.state.database
    broker: Broker = request.app.state.broker
    waiting = [] if await database.answers() else ["the database does not answer"]
    waiting += [] if broker.connected else ["no connection to the broker"]
    return PlainTextResponse(("; ".join(waiting) or "ready") + "\n", 503 if waiting else 200)


@router.get(
    "/metrics",
    responses=_TEXT | problems(401, 403, 429),
    response_class=PlainTextResponse,
    dependencies=[Depends(needs("metrics"))],
)
async def metrics(request: Request) -> Response:
    """Return what the server counts, for Prometheus. Takes a token with the scope `metrics`."""
    found: Metrics = request.app.state.metrics
    body, media_type = await run_in_threadpool(found.exposition, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})


@router.get("/problems/{name}", include_in_schema=False)
async def problem(name: str) -> Response:
    """Explain the kind of problem that an answer's `type` names."""
    kind = KINDS.get(name)
    if kind is None:
        raise ProblemError("not-found", f"There is no kind of problem {name!r}.")
    return JSONResponse({"type": kind.type, "status": kind.status, "title": kind.title, "description": kind.about})
