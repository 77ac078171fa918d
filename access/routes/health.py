"""Routes for operation: liveness, readiness, metrics, and explanations of problems."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from access.auth.bearer import require_scope
from access.database import Database
from access.ingest.publisher import BrokerPublisher
from access.metrics import Metrics
from access.openapi.responses import problem_responses
from access.problems import KINDS, ProblemError

router = APIRouter(tags=["server"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Unavailable services.", "content": _TEXT[200]["content"]}
}


@router.get("/live", responses=_TEXT, response_class=PlainTextResponse)
async def live() -> Response:
    """Return 200 while the process runs. Needs no token."""
    return PlainTextResponse("alive\n")


@router.get("/ready", responses=_TEXT | _NOT_READY, response_class=PlainTextResponse)
async def ready(request: Request) -> Response:
    """Return 200 while database and broker are available, else 503 with the missing ones. Needs no token."""
    database: Database = request.app.state.database
    broker: BrokerPublisher = request.app.state.broker
    missing = [] if await database.is_available() else ["the database does not answer"]
    missing += [] if broker.connected else ["no connection to the broker"]
    return PlainTextResponse(("; ".join(missing) or "ready") + "\n", 503 if missing else 200)


@router.get(
    "/metrics",
    responses=_TEXT | problem_responses(401, 403, 429),
    response_class=PlainTextResponse,
    dependencies=[Depends(require_scope("metrics"))],
)
async def metrics(request: Request) -> Response:
    """Return the Prometheus metrics. Needs a token with the scope `metrics`."""
    server_metrics: Metrics = request.app.state.metrics
    body, media_type = await run_in_threadpool(server_metrics.exposition, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})


@router.get("/problems/{name}", include_in_schema=False)
async def problem(name: str) -> Response:
    """Explain the kind of problem in the `type` of a response."""
    kind = KINDS.get(name)
    if kind is None:
        raise ProblemError("not-found", f"Unknown kind of problem: {name!r}.")
    return JSONResponse(
        {"type": kind.type, "status": kind.status, "title": kind.title, "description": kind.explanation}
    )
