"""The route that takes readings: they go to the broker, as any device's do, and come in through the collector."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from psycopg import sql
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from access.auth.bearer import needs
from access.auth.tokens import Token
from access.database import Database
from access.ingest import payload
from access.ingest.payload import Message
from access.ingest.publisher import Broker
from access.metrics import Metrics
from access.openapi import models
from access.openapi.examples import answers
from access.problems import ProblemError
from access.settings import AccessSettings

log = structlog.get_logger()
router = APIRouter()

_PATIENCE = 0.2
"""Seconds that the registry may take to be asked: what it knows is told earlier, but not needed."""

_WIDE, _NARROW = (f"#/components/schemas/{model.__name__}" for model in (models.WideReading, models.NarrowReading))
_READING = {"anyOf": [{"$ref": _WIDE}, {"$ref": _NARROW}]}
_AT = models.TIME
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [_READING, {"type": "array", "items": _READING, "maxItems": payload.MOST}]},
                "examples": {
                    "wide": {
                        "summary": "One reading, its quantity a member",
                        "value": {"device_id": "porch", "timestamp": _AT, "temperature": 21.5, "tag": "garden"},
                    },
                    "narrow": {
                        "summary": "One reading that names its quantity",
                        "value": {"device_id": "porch", "timestamp": _AT, "sensor": "temperature", "value": 21.5},
                    },
                    "several": {
                        "summary": "Several, in either form",
                        "value": [
                            {"device_id": "porch", "timestamp": _AT, "temperature": 21.5, "humidity": 48},
                            {"device_id": "shed", "timestamp": _AT, "sensor": "temperature", "value": 9.5},
                        ],
                    },
                },
            },
            "application/x-ndjson": {"schema": {"type": "string", "description": "One reading a line."}},
        },
    }
}


@router.post(
    "/readings",
    tags=["readings"],
    status_code=202,
    responses=answers(models.Accepted, 400, 401, 403, 413, 415, 422, 429, 503, status=202),
    openapi_extra=_BODY,
    response_model=None,
)
async def post_readings(request: Request, token: Annotated[Token, Depends(needs("write"))]) -> Response:
    """Take readings: one, a list, or lines of JSON, each in one of two forms.

    All are checked first; if one is wrong, none is taken. Then they are published over MQTT, and the answer is 202 once
    the broker has acknowledged them: from there on nothing gets lost, and the collector stores them, usually within a
    second. A device that the registry does not know is quarantined until it does (docs/registry.md).

    Where the broker is away, the answer is 503 and says which readings it has (`accepted`, counted from 0); send the
    others again. A reading that comes twice is stored once, so sending all again is fine too.
    """
    settings: AccessSettings = request.app.state.settings
    kind = payload.media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
    body = await _body(request, settings.max_body_kilobytes * 1024)
    items, many = await run_in_threadpool(payload.read, body, kind)
    messages = payload.messages(items)
    await _known(request.app.state.database, settings, messages, many=many)
    broker: Broker = request.app.state.broker
    sent = [(settings.topic(message.device), message.payload) for message in messages]
    taken = await run_in_threadpool(broker.publish, sent, settings.publish_seconds)
    accepted = sorted(
        number for message, done in zip(messages, taken, strict=True) if done for number in message.numbers
    )
    readings = sum(len(message.numbers) for message in messages)
    metrics: Metrics = request.app.state.metrics
    metrics.published(readings, len(accepted), len(messages), sum(taken))
    log.info("posted", token=token.name, readings=readings, accepted=len(accepted), messages=len(messages))
    if len(accepted) < readings:
        detail = f"The broker has acknowledged {len(accepted):,} of {readings:,} readings: those under `accepted`."
        raise ProblemError("broker-away", detail, headers={"Retry-After": "5"}, accepted=accepted)
    return JSONResponse({"accepted": readings, "messages": len(messages)}, status_code=202)


async def _body(request: Request, most: int) -> bytes:
    """Return the body; raises :class:`ProblemError` as soon as it is more than ``most`` bytes."""
    told = request.headers.get("content-length", "0")
    size = int(told) if told.isdigit() else 0
    parts = bytearray()
    if size <= most:
        async for part in request.stream():
            parts += part
            if len(parts) > most:
                break
    if max(size, len(parts)) > most:
        raise ProblemError(
            "too-large", f"The body is larger than {most // 1024:,} kB.", headers={"Connection": "close"}
        )
    return bytes(parts)


async def _known(database: Database, settings: AccessSettings, messages: list[Message], *, many: bool) -> None:
    """Raise :class:`ProblemError` for devices whose readings could not be theirs: the registry has them elsewhere.

    They would end in quarantine. The database is asked only if it answers at once: posting does not depend on it.
    """
    devices = {message.device: settings.topic(message.device) for message in messages}
    try:
        found = await database.rows(_REGISTERED, {"devices": list(devices)}, patience=_PATIENCE, within=2 * _PATIENCE)
    except ProblemError:
        return
    reached: dict[str, bool] = {}
    elsewhere: dict[str, str] = {}
    for device, topic in found:
        # What has a placeholder or wildcard may be reached; the collector will tell.
        reached[device] = reached.get(device, False) or topic == devices[device] or bool(set("+#{") & set(topic))
        elsewhere[device] = topic
    errors = []
    for device in (device for device, is_reached in reached.items() if not is_reached):
        first = min(number for message in messages if message.device == device for number in message.numbers)
        wrong = f"{device} publishes on {elsewhere[device]}; over HTTP come devices of {devices[device]}"
        errors.append({"pointer": f"#/{first}/device_id" if many else "#/device_id", "detail": wrong})
    if errors:
        raise ProblemError("invalid", "Nothing was accepted: the registry has devices on other topics.", errors[:20])


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
