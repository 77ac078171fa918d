"""Puts the server together."""

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
from access.auth.bearer import Gate
from access.auth.tokens import TokenFile
from access.database import Database
from access.ingest.publisher import Broker
from access.metrics import Metrics
from access.openapi import models, swagger_ui
from access.problems import ProblemError
from access.routes import health, read, write
from access.settings import AccessSettings
from core.settings import MqttSettings

log = structlog.get_logger()

_ABOUT = """
Readings of sensors, what was made of them, and how good they are; and a way in for devices that speak HTTP.

Every request takes a token: `Authorization: Bearer <token>`. `access token new NAME --scope read` makes one.

Lists come as JSON, NDJSON or CSV (header `Accept`, or `format=`). JSON comes in parts: follow `next` until it is null.
NDJSON and CSV come whole. Times are ISO 8601; `from` is included, `to` is not. What goes wrong is told as
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) has it.
"""
_TAGS = [
    {"name": "readings", "description": "What was measured, as it came and in windows; and where it is posted."},
    {"name": "findings", "description": "What the marts have made of it."},
    {"name": "quality", "description": "Whether it can be trusted."},
    {"name": "catalog", "description": "What is in the database, for those who go on in SQL."},
    {"name": "server", "description": "How the server is."},
]
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


def make(settings: AccessSettings, mqtt: MqttSettings) -> ASGIApp:
    """Return the server; nothing is connected before its start, raises :class:`SettingError` for certificates."""
    broker = Broker(mqtt)
    database = Database(settings.connections, settings.query_seconds)
    metrics = Metrics(lambda: broker.connected, lambda: database.busy)

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
        version="1",
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
    app.state.gate = Gate(TokenFile(settings.tokens_file), settings.requests_per_token)
    for router in (read.router, write.router, health.router):
        app.include_router(router)
    swagger_ui.mount(app)
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return _Outermost(app, metrics)


class _Api(FastAPI):
    """An API whose description also has what routes only refer to."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            found = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
                tags=self.openapi_tags,
                license_info=self.license_info,
            )
            schemas = found["components"]["schemas"]
            for model in (models.Problem, models.WideReading, models.NarrowReading):
                own = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas |= own.pop("$defs", {})
                schemas[model.__name__] = own
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for route in (route for routes in found["paths"].values() for route in routes.values()):
                route["summary"] = route["description"].split("\n")[0].rstrip(".")
            self.openapi_schema = found
        return self.openapi_schema


class _Outermost:
    """Measures every request, and lets no error out: it is logged, and told as a problem if nothing is sent yet."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ProblemError as error:  # in the middle of a list: the connection is cut, so the reader knows
            log.warning("answer broken off", route=_route(scope), reason=error.detail)
        except Exception as error:
            log.exception("defect", route=_route(scope), error=type(error).__name__)
            if not status:
                await problems.response(_DEFECT, scope["path"])(scope, receive, sending)
        finally:
            self._metrics.answered(scope["method"], _route(scope), status, time.perf_counter() - begin)


_DEFECT = ProblemError("defect", "This should not have happened. It is in the server's log.")


def _route(scope: Scope) -> str:
    """Return the route's path with its placeholders: as many values as there are routes, whatever is asked for."""
    return getattr(scope.get("route"), "path", "none")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problems.response(error, request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = []
    for found in error.errors():
        place = [str(step) for step in found["loc"][1:]]
        wrong = "not known here" if found["type"] == "extra_forbidden" else found["msg"].removeprefix("Value error, ")
        errors.append({"parameter": place[0] if place else str(found["loc"][0]), "detail": wrong})
    detail = "; ".join(f"{one['parameter']}: {one['detail']}" for one in errors[:3])
    return problems.response(ProblemError("invalid", f"{detail}.", errors), request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    names = {404: "not-found", 405: "wrong-method"}
    name = names.get(error.status_code, "malformed")
    detail = {"not-found": "There is nothing at this address; /docs lists what there is."}.get(name, f"{error.detail}.")
    return problems.response(ProblemError(name, detail, headers=error.headers), request.url.path)
