"""The ASGI application: routes, error responses, OpenAPI description, metrics."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access import problems
from access.auth.audit import Audit
from access.auth.bearer import TokenGate
from access.auth.tokens import TokenFile
from access.database import Database
from access.ingest.publisher import BrokerPublisher
from access.metrics import Metrics
from access.openapi import models, swagger_ui
from access.problems import ProblemError
from access.routes import health, read, write
from access.settings import AccessSettings
from core.settings import MqttSettings
from core.version import VERSION

log = structlog.get_logger()

_ABOUT = """
Sensor readings, aggregates, load cycles, anomalies and data quality; devices that use HTTP can post readings.

Every request needs a token: `Authorization: Bearer <token>`. `access token new NAME --scope read` creates one.

Lists are available as JSON, NDJSON or CSV (header `Accept`, or `format=`). JSON is paginated: follow `next` until it is
null. NDJSON and CSV are complete. Times are ISO 8601; `from` is inclusive, `to` exclusive. Errors are problem details
([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
"""
_TAGS = [
    {"name": "readings", "description": "Raw readings, aggregates over windows, and posting of readings."},
    {"name": "findings", "description": "Load cycles and anomalies, from the marts."},
    {"name": "quality", "description": "Results of quality checks, quality by day, and message accounting."},
    {"name": "catalog", "description": "Tables and views of the database, for SQL users."},
    {"name": "server", "description": "Health and metrics of the server."},
]
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


def create_app(settings: AccessSettings, mqtt: MqttSettings) -> ASGIApp:
    """Return the application, which connects at startup; raises :class:`SettingError` for invalid certificates."""
    broker = BrokerPublisher(mqtt)
    database = Database(settings.connections, settings.query_seconds)
    metrics = Metrics(lambda: broker.connected, lambda: database.connections_in_use)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        broker.start()
        await database.open()
        try:
            yield
        finally:
            broker.stop()
            await database.close()

    app = _Api(
        title="sensor-warehouse",
        version=VERSION,
        description=_ABOUT,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.settings = settings
    app.state.broker = broker
    app.state.database = database
    app.state.metrics = metrics
    app.state.audit = Audit()
    app.state.gate = TokenGate(TokenFile(settings.tokens_file), settings.requests_per_token)
    for router in (read.router, write.router, health.router):
        app.include_router(router)
    swagger_ui.mount(app)
    app.add_exception_handler(ProblemError, _problem_response)
    app.add_exception_handler(RequestValidationError, _validation_response)
    app.add_exception_handler(HTTPException, _http_response)
    app.add_exception_handler(Exception, _defect_response)
    return _RequestObserver(app, metrics)


class _Api(FastAPI):
    """A FastAPI application whose OpenAPI description contains the schemas that routes reference."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            description = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
                tags=self.openapi_tags,
                license_info=self.license_info,
            )
            schemas = description["components"]["schemas"]
            for model in (models.Problem, models.WideReading, models.NarrowReading):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for route in (route for routes in description["paths"].values() for route in routes.values()):
                route["summary"] = route["description"].split("\n")[0].rstrip(".")
            self.openapi_schema = description
        return self.openapi_schema


class _RequestObserver:
    """Measures every request and logs its unhandled errors; answers 500 if no response was started."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        try:
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                refusal = problems.response(_NUL, scope["path"].replace("\0", ""))
                await refusal(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except ProblemError as error:
            # In a streamed list. Closing the connection shows the client that rows are missing.
            log.warning("response aborted", route=_route(scope), reason=error.detail)
        except Exception as error:
            log.exception("unhandled error", route=_route(scope), error=type(error).__name__)
            if not status:
                await problems.response(_INTERNAL_ERROR, scope["path"])(scope, receive, send_with_headers)
        finally:
            self._metrics.record_request(scope["method"], _route(scope), status, time.perf_counter() - started)


_NUL = ProblemError("invalid", "The path or a parameter contains a NUL character (%00); remove it.")
_INTERNAL_ERROR = ProblemError("defect", "Unexpected error; the log of the server has the details.")


def _route(scope: Scope) -> str:
    """Return the path template of the route, so that the number of label values is bounded."""
    return getattr(scope.get("route"), "path", "none")


async def _defect_response(request: Request, _error: Exception) -> Response:
    return problems.response(_INTERNAL_ERROR, request.url.path)


async def _problem_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    if error.kind.status in (401, 403):
        client = request.client.host if request.client else ""
        audit: Audit = request.app.state.audit
        audit.refused(error.kind.status, error.detail, client=client, method=request.method, path=request.url.path)
    return problems.response(error, request.url.path)


async def _validation_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = []
    for mistake in error.errors():
        path = [str(step) for step in mistake["loc"][1:]]
        unknown = mistake["type"] == "extra_forbidden"
        text = "unknown parameter" if unknown else mistake["msg"].removeprefix("Value error, ")
        errors.append({"parameter": path[0] if path else str(mistake["loc"][0]), "detail": text})
    detail = "; ".join(f"{mistake['parameter']}: {mistake['detail']}" for mistake in errors[:3])
    return problems.response(ProblemError("invalid", f"{detail}.", errors), request.url.path)


async def _http_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    names = {404: "not-found", 405: "wrong-method"}
    name = names.get(error.status_code, "malformed")
    detail = {"not-found": "There is no such path; /docs lists all paths."}.get(name, f"{error.detail}.")
    return problems.response(ProblemError(name, detail, headers=error.headers), request.url.path)
