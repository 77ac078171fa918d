"""Route that accepts readings: publishes them to the broker, from which the collector stores them like any device's."""

import asyncio
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from psycopg import sql
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from access.auth.bearer import require_scope
from access.auth.tokens import Token
from access.database import Database
from access.ingest import payload
from access.ingest.payload import Message
from access.ingest.publisher import BrokerPublisher
from access.metrics import Metrics
from access.openapi import models
from access.openapi.examples import POST_READINGS
from access.openapi.responses import responses
from access.problems import ProblemError
from access.settings import AccessSettings

log = structlog.get_logger()
router = APIRouter()

_REGISTRY_TIMEOUT = 0.2
"""Seconds to wait for the registry: its check gives an earlier error message, but posting works without it."""

_WIDE, _NARROW = (f"#/components/schemas/{model.__name__}" for model in (models.WideReading, models.NarrowReading))
_READING = {"anyOf": [{"$ref": _WIDE}, {"$ref": _NARROW}]}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_READING, {"type": "array", "items": _READING, "maxItems": payload.MAX_READINGS}]},
                "examples": POST_READINGS,
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "One reading per line."}},
        },
    }
}


@router.post(
    "/readings",
    tags=["readings"],
    status_code=202,
    responses=responses(models.Accepted, 400, 401, 403, 408, 413, 415, 422, 429, 503, status=202),
    openapi_extra=_BODY,
    response_model=None,
)
async def post_readings(request: Request, token: Annotated[Token, Depends(require_scope("write"))]) -> Response:
    """Accept readings: one, a list, or NDJSON, in one of two formats.

    All readings are validated first; if one is invalid, none is accepted. Then they are published over MQTT. The
    response is 202 after the broker has acknowledged them: they can no longer be lost, and the collector stores them,
    usually within a second. Readings of unknown devices are quarantined until the device is registered
    (docs/registry.md).

    If the broker is not available, the response is 503 and lists the acknowledged readings (`accepted`, counted from
    0); send the others again. Duplicates are stored once, so it is safe to send all of them again.
    """
    settings: AccessSettings = request.app.state.settings
    kind = payload.media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
    try:
        async with asyncio.timeout(settings.body_seconds):
            body = await _read_body(request, settings.max_body_kilobytes * 1024)
    except TimeoutError:
        detail = f"The body was not complete within {settings.body_seconds:g} s."
        raise ProblemError("timeout", detail, headers={"Connection": "close"}) from None
    items, is_list = await run_in_threadpool(payload.parse, body, kind)
    messages = payload.group_by_device(items)
    await _check_devices(request.app.state.database, settings, messages, is_list=is_list)
    broker: BrokerPublisher = request.app.state.broker
    publications = [(settings.topic(message.device), message.payload) for message in messages]
    acknowledged = await run_in_threadpool(broker.publish, publications, settings.publish_seconds)
    accepted = sorted(
        number for message, done in zip(messages, acknowledged, strict=True) if done for number in message.numbers
    )
    readings = sum(len(message.numbers) for message in messages)
    metrics: Metrics = request.app.state.metrics
    metrics.record_published(readings, len(accepted), len(messages), sum(acknowledged))
    log.info("readings posted", token=token.name, readings=readings, accepted=len(accepted), messages=len(messages))
    if len(accepted) < readings:
        detail = f"The broker acknowledged {len(accepted):,} of {readings:,} readings, which are listed in `accepted`."
        raise ProblemError("broker-away", detail, headers={"Retry-After": "5"}, accepted=accepted)
    return JSONResponse({"accepted": readings, "messages": len(messages)}, status_code=202)


async def _read_body(request: Request, limit: int) -> bytes:
    """Return the body; raises :class:`ProblemError` as soon as it exceeds ``limit`` bytes."""
    content_length = request.headers.get("content-length", "0")
    size = int(content_length) if content_length.isdigit() else 0
    parts = bytearray()
    if size <= limit:
        async for part in request.stream():
            parts += part
            if len(parts) > limit:
                break
    if max(size, len(parts)) > limit:
        raise ProblemError(
            "too-large", f"The body is larger than {limit // 1024:,} kB.", headers={"Connection": "close"}
        )
    return bytes(parts)


async def _check_devices(
    database: Database, settings: AccessSettings, messages: list[Message], *, is_list: bool
) -> None:
    """Raise :class:`ProblemError` for devices that the registry has on other topics.

    Their readings would be quarantined. The check is skipped if the database does not answer at once: posting does not
    depend on it.
    """
    devices = {message.device: settings.topic(message.device) for message in messages}
    try:
        registered = await database.fetch(
            _REGISTERED, {"devices": list(devices)}, pool_timeout=_REGISTRY_TIMEOUT, total_timeout=2 * _REGISTRY_TIMEOUT
        )
    except ProblemError:
        return
    reachable: dict[str, bool] = {}
    registered_topics: dict[str, str] = {}
    for device, topic in registered:
        # A topic with a placeholder or wildcard may match; the collector decides.
        reachable[device] = reachable.get(device, False) or topic == devices[device] or bool(set("+#{") & set(topic))
        registered_topics[device] = topic
    errors = []
    for device in (device for device, is_reachable in reachable.items() if not is_reachable):
        first = min(number for message in messages if message.device == device for number in message.numbers)
        detail = (
            f"{device} is registered on {registered_topics[device]}; HTTP readings are published on {devices[device]}"
        )
        errors.append({"pointer": f"#/{first}/device_id" if is_list else "#/device_id", "detail": detail})
    if errors:
        raise ProblemError("invalid", "Devices are registered on other topics; nothing was accepted.", errors[:20])


_REGISTERED: Any = sql.SQL("""
    select device, topic
    from (
        select unnest(array[sensor_id, device]) as device, topic
        from telemetry.sensor
        where retired_at is null and (sensor_id = any(%(devices)s::text[]) or device = any(%(devices)s::text[]))
    ) as named
    where device = any(%(devices)s::text[])
    group by device, topic
    order by device, topic
""")
