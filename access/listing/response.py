"""Answers a request for a list: one part with where the next begins, or all of it as it is read."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from access import times
from access.database import Database
from access.listing import cursor, media_types
from access.listing.media_types import Form
from access.listing.pages import PART, Listing, Part, parts
from access.listing.params import Listed

_PAGE = 1000
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}


async def listing(request: Request, asked: Listed, found: Listing, database: Database) -> Response:
    """Return the answer: ``found`` as ``asked`` for. Whatever is wrong shows before its first byte is sent."""
    form = media_types.choose(request.headers.get("accept"), asked.format)
    path, question = request.url.path, asked.question
    told = cursor.fingerprint(path, question)
    after = None if asked.cursor is None else cursor.decode(asked.cursor, told, found.key_types)
    limit = asked.limit or (_PAGE if form == "json" else None)
    first = await found.part(database, after, limit or PART)
    if limit is None:
        return StreamingResponse(_stream(form, found, database, first), media_type=_media_type(form), headers=_HEADERS)
    following = None
    if first.after is not None:
        more = {"limit": limit, "format": asked.format, "cursor": cursor.encode(first.after, told)}
        following = f"{path}?{_query({**question, **more})}"
    link = {} if following is None else {"Link": f'<{following}>; rel="next"'}
    if form == "json":
        body = media_types.document(found.columns, first.rows, following)
    else:
        body = _written(form, found, first, headed=True)
    return Response(body, media_type=_media_type(form), headers=_HEADERS | link)


async def _stream(form: Form, found: Listing, database: Database, first: Part) -> AsyncIterator[bytes]:
    async for part in parts(found, database, first):
        yield _written(form, found, part, headed=part is first)


def _written(form: Form, found: Listing, part: Part, *, headed: bool) -> bytes:
    if form == "csv":
        return media_types.table(found.columns, part.rows, headed=headed)
    return media_types.lines(found.columns, part.rows)


def _media_type(form: Form) -> str:
    name = media_types.MEDIA_TYPES[form]
    return f"{name}; charset=utf-8" if form == "csv" else name


def _query(told: dict[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in told.items():
        several = value if isinstance(value, list) else [value]
        pairs += [(name, _text(name, one)) for one in several if one is not None]
    return urlencode(pairs)


def _text(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return times.written(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}us" if name in ("window", "step") else str(value)
