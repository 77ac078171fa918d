"""Answers a request for a list: one part with where the next begins, or all of it as it is read."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from access import cursor, forms, times
from access.asked import Listed
from access.database import Database
from access.forms import Form
from access.lists import PART, Listing, Part, parts

_PAGE = 1000
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}


async def listing(request: Request, asked: Listed, found: Listing, database: Database) -> Response:
    """Return the answer: ``found`` as ``asked`` for. Whatever is wrong shows before its first byte is sent."""
    form = forms.choose(request.headers.get("accept"), asked.format)
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
        body = forms.document(found.columns, first.rows, following)
    else:
        body = _written(form, found, first, headed=True)
    return Response(body, media_type=_media_type(form), headers=_HEADERS | link)


async def _stream(form: Form, found: Listing, database: Database, first: Part) -> AsyncIterator[bytes]:
    async for part in parts(found, database, first):
        yield _written(form, found, part, headed=part is first)


def _written(form: Form, found: Listing, part: Part, *, headed: bool) -> bytes:
    if form == "csv":
        return forms.table(found.columns, part.rows, headed=headed)
    return forms.lines(found.columns, part.rows)


def _media_type(form: Form) -> str:
    name = forms.MEDIA_TYPES[form]
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
