"""What is answered when something is wrong: problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from core.errors import WarehouseError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the last part of its type, its status, its title, and what to do."""

    name: str
    status: int
    title: str
    about: str

    @property
    def type(self) -> str:
        """What ``type`` says: an address relative to this server, where the kind is explained."""
        return f"/problems/{self.name}"


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


KINDS = _kinds(
    Kind("malformed", 400, "Not to be understood", "The body is no JSON, or the cursor is none of this request's."),
    Kind("no-token", 401, "No valid token", "Send `Authorization: Bearer <token>`; `access token new` makes one."),
    Kind("not-allowed", 403, "Not allowed", "The token is not good for this; make one with the scope that is named."),
    Kind("not-found", 404, "Not found", "There is nothing of that name."),
    Kind("wrong-method", 405, "Wrong method", "This address takes another method: see the header Allow."),
    Kind("not-acceptable", 406, "No such format", "Ask for application/json, application/x-ndjson or text/csv."),
    Kind("too-large", 413, "Too large", "Send it in several requests."),
    Kind("wrong-media-type", 415, "Wrong media type", "Send application/json or application/x-ndjson, uncompressed."),
    Kind("invalid", 422, "Invalid", "`errors` says what is wrong where. Nothing of the request was done."),
    Kind("too-many", 429, "Too many requests at once", "Wait for answers before asking again with the same token."),
    Kind("defect", 500, "A defect of the server", "It is in the server's log; the request may have been right."),
    Kind("database-away", 503, "The database is away", "Ask again after the seconds that Retry-After says."),
    Kind("broker-away", 503, "The broker is away", "Send the others than `accepted` again; twice is stored once."),
    Kind("not-built", 503, "Not built yet", "A table is not there, or may not be read: the detail says what to run."),
    Kind("too-slow", 504, "The query takes too long", "Ask for less: a shorter period, fewer sensors, wider windows."),
)  # fmt: skip


class ProblemError(Exception):
    """A request that can't be answered as asked; becomes a problem document.

    ``errors`` are single mistakes, each with ``detail`` and ``pointer`` (into the body, a JSON Pointer as fragment) or
    ``parameter``; ``more`` are further members.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = KINDS[name]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.more = more


def document(error: ProblemError, instance: str) -> dict[str, Any]:
    """Return the problem document of ``error`` in the request for path ``instance``."""
    kind = error.kind
    found = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": error.detail}
    found |= {"instance": instance, **error.more}
    return found | ({"errors": list(error.errors)} if error.errors else {})


def response(error: ProblemError, instance: str) -> JSONResponse:
    """Return the answer to the request for path ``instance`` that ``error`` ends."""
    return JSONResponse(document(error, instance), error.kind.status, error.headers, MEDIA_TYPE)


class ServeError(WarehouseError):
    """The HTTP interface can't be served."""
