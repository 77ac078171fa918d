"""Error responses: problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from core.errors import WarehouseError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: last part of its ``type``, status, title, and an explanation with the fix."""

    name: str
    status: int
    title: str
    explanation: str

    @property
    def type(self) -> str:
        """The member ``type``: a URL relative to this server that explains the kind."""
        return f"/problems/{self.name}"


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


KINDS = _kinds(
    Kind("malformed", 400, "Malformed request", "The body is not JSON, or the cursor does not belong to the request."),
    Kind("no-token", 401, "No valid token", "Send `Authorization: Bearer <token>`; `access token new` creates one."),
    Kind("not-allowed", 403, "Not allowed", "The token lacks the scope in the detail; create one that has it."),
    Kind("not-found", 404, "Not found", "No resource has this name."),
    Kind("wrong-method", 405, "Wrong method", "The path has other methods: see the header Allow."),
    Kind("not-acceptable", 406, "No such format", "Ask for application/json, application/x-ndjson or text/csv."),
    Kind("timeout", 408, "Request timeout", "Send the body faster, or in several requests."),
    Kind("too-large", 413, "Too large", "Split the body into several requests."),
    Kind("wrong-media-type", 415, "Wrong media type", "Send application/json or application/x-ndjson, uncompressed."),
    Kind("invalid", 422, "Invalid", "`errors` lists each mistake and its place. The request had no effect."),
    Kind("too-many", 429, "Too many requests at once", "Wait for earlier requests with the same token to end."),
    Kind("defect", 500, "Internal error", "The log of the server has the details; the request may be valid."),
    Kind("database-away", 503, "Database not available", "Retry after the number of seconds in Retry-After."),
    Kind("broker-away", 503, "Broker not available", "Send all but `accepted` again; duplicates are stored once."),
    Kind("not-built", 503, "Not built yet", "A table is missing or not readable: the detail names the command to run."),
    Kind("too-slow", 504, "Query timeout", "Reduce the request: a shorter period, fewer sensors, wider windows."),
)  # fmt: skip


class ProblemError(Exception):
    """A request that fails; becomes a problem document.

    ``errors`` are single mistakes, each with ``detail`` and either ``pointer`` (a JSON Pointer into the body, as
    fragment) or ``parameter``; ``members`` are additional members of the document.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = KINDS[name]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members


def document(error: ProblemError, instance: str) -> dict[str, Any]:
    """Return the problem document of ``error`` in the request for path ``instance``."""
    kind = error.kind
    problem = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": error.detail}
    problem |= {"instance": instance, **error.members}
    return problem | ({"errors": list(error.errors)} if error.errors else {})


def response(error: ProblemError, instance: str) -> JSONResponse:
    """Return the response for ``error`` in the request for path ``instance``."""
    return JSONResponse(document(error, instance), error.kind.status, error.headers, MEDIA_TYPE)


class ServeError(WarehouseError):
    """The HTTP server could not start."""
