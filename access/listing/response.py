"""HTTP response of a list: one page with a link to the next, or the complete list as a stream."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from access import times
from access.database import Database
from access.listing import cursor, media_types
from access.listing.media_types import Format
from access.listing.pages import MAX_ROWS, Listing, Page, pages
from access.listing.params import ListParams

_DEFAULT_JSON_ROWS = 1000
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}


async def list_response(request: Request, params: ListParams, listing: Listing, database: Database) -> Response:
    """Return the response for ``listing``; errors of its first page are raised before the first byte is sent."""
    format_ = media_types.choose(request.headers.get("accept"), params.format)
    path, filters = request.url.path, params.filters
    fingerprint = cursor.fingerprint(path, filters)
    after = None if params.cursor is None else cursor.decode(params.cursor, fingerprint, listing.key_types)
    limit = params.limit or (_DEFAULT_JSON_ROWS if format_ == "json" else None)
    first = await listing.page(database, after, limit or MAX_ROWS)
    media_type = _content_type(format_)
    if limit is None:
        return StreamingResponse(_stream(format_, listing, database, first), media_type=media_type, headers=_HEADERS)
    next_url = None
    if first.after is not None:
        position = {"limit": limit, "format": params.format, "cursor": cursor.encode(first.after, fingerprint)}
        next_url = f"{path}?{_query_string({**filters, **position})}"
    link = {} if next_url is None else {"Link": f'<{next_url}>; rel="next"'}
    if format_ == "json":
        body = media_types.json_document(listing.columns, first.rows, next_url)
    else:
        body = _encode(format_, listing, first, header=True)
    return Response(body, media_type=media_type, headers=_HEADERS | link)


async def _stream(format_: Format, listing: Listing, database: Database, first: Page) -> AsyncIterator[bytes]:
    async for page in pages(listing, database, first):
        yield _encode(format_, listing, page, header=page is first)


def _encode(format_: Format, listing: Listing, page: Page, *, header: bool) -> bytes:
    if format_ == "csv":
        return media_types.csv_rows(listing.columns, page.rows, header=header)
    return media_types.ndjson_rows(listing.columns, page.rows)


def _content_type(format_: Format) -> str:
    name = media_types.MEDIA_TYPES[format_]
    return f"{name}; charset=utf-8" if format_ == "csv" else name


def _query_string(parameters: dict[str, Any]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, _parameter_text(name, element)) for element in values if element is not None]
    return urlencode(pairs)


def _parameter_text(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        return times.format_utc(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}us" if name in ("window", "step") else str(value)
