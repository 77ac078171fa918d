"""Validates posted readings in the two formats of devices, and groups them into MQTT messages. Pure.

    {"device_id": "t1", "timestamp": "2026-03-28T20:04:22Z", "temperature": 25.2, "tag": "lab"}          wide
    {"device_id": "t1", "timestamp": "2026-03-28T20:04:22Z", "sensor": "temperature", "value": 25.2}     narrow

Readings are published unchanged, so that the archive has the data as sent; the collector decodes them.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from access import times
from access.problems import ProblemError

MAX_READINGS = 10_000
"""Maximum number of readings per request."""

MAX_PER_MESSAGE = 500
"""Maximum number of readings per MQTT message."""

Body = Literal["application/json", "application/x-ndjson"]

_DEVICE = re.compile(r"[\w.:-]{1,100}")
_SHARED = {"device_id", "timestamp", "tag"}
_NARROW = {"sensor", "value"}
_DATE_AND_TIME = re.compile(r"\d[Tt ]\d")
_MAX_EXACT = 2**53
_MAX_VALUE = 1e290
_MAX_ERRORS = 20
"""Maximum number of mistakes in one response."""


@dataclass(frozen=True)
class Message:
    """Readings of one device in one MQTT message; ``numbers`` are their positions in the request."""

    device: str
    payload: bytes
    numbers: tuple[int, ...]


def media_type(header: str | None, encoding: str | None) -> Body:
    """Return the media type of the body from Content-Type and Content-Encoding; raises :class:`ProblemError`."""
    name = (header or "").split(";")[0].strip().lower()
    if encoding not in (None, "", "identity"):
        raise ProblemError("wrong-media-type", f"The body is compressed ({encoding}); send it uncompressed.")
    if name == "application/json":
        return "application/json"
    if name in ("application/x-ndjson", "application/ndjson"):
        return "application/x-ndjson"
    reason = f"The media type {name} is not supported" if name else "The header Content-Type is missing"
    raise ProblemError("wrong-media-type", f"{reason}; send the header Content-Type: application/json.")


def parse(body: bytes, kind: Body) -> tuple[list[dict[str, Any]], bool]:
    """Return the readings in ``body``, and whether it is a list; raises :class:`ProblemError` with all mistakes."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError("malformed", f"The body is not UTF-8 at byte {error.start}.") from error
    if kind == "application/json":
        document = _parse_json(text, "The body")
        single = not isinstance(document, list)
        items = [document] if single else document
    else:
        single = False
        numbered = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        items = [_parse_json(line, f"Line {number}") for number, line in numbered]
    if not items:
        raise ProblemError("invalid", "The body has no readings.")
    if len(items) > MAX_READINGS:
        raise ProblemError("too-large", f"{len(items):,} readings; the maximum per request is {MAX_READINGS:,}.")
    errors: list[dict[str, str]] = []
    for index, item in enumerate(items):
        for pointer, detail in mistakes(item):
            errors.append({"pointer": f"#{pointer}" if single else f"#/{index}{pointer}", "detail": detail})
        if len(errors) >= _MAX_ERRORS:
            break
    if errors:
        raise ProblemError("invalid", "The body has invalid readings; nothing was accepted.", errors[:_MAX_ERRORS])
    return items, not single


def mistakes(item: Any) -> Iterator[tuple[str, str]]:
    """Yield JSON Pointer and description of each mistake in a reading."""
    if not isinstance(item, dict):
        yield "", "expected an object"
        return
    if not isinstance(device := item.get("device_id"), str) or not _DEVICE.fullmatch(device):
        yield "/device_id", "expected the name of the device: letters, digits and _ . : - (100 characters at most)"
    if (mistake := _time(item.get("timestamp"))) is not None:
        yield "/timestamp", mistake
    if "tag" in item and not isinstance(item["tag"], (str, type(None))):
        yield "/tag", "expected a string"
    yield from _narrow(item) if "sensor" in item else _wide(item)


def _narrow(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(item["sensor"], str) or not item["sensor"]:
        yield "/sensor", "expected the name of the quantity, for example temperature"
    if (mistake := _value(item.get("value"))) is not None:
        yield "/value", mistake
    for name in item.keys() - _SHARED - _NARROW:
        yield _pointer(name), "unknown member in a reading with `sensor` and `value`; remove it"


def _wide(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = [name for name in item if name not in _SHARED]
    if not values:
        yield "", "no value: add a quantity such as temperature, or `sensor` and `value`"
    for name in values:
        if (mistake := _value(item[name])) is not None:
            yield _pointer(name), mistake


def _time(value: Any) -> str | None:
    message = "expected an ISO 8601 time with Z or an offset, for example 2026-03-01T12:00:00Z"
    if not isinstance(value, str) or not _DATE_AND_TIME.search(value):
        return message
    try:
        times.parse_instant(value)
    except ValueError:
        return message
    return None


def _value(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if not isinstance(value, (int, float)):
        return "expected a number or a boolean"
    if isinstance(value, int) and abs(value) > _MAX_EXACT:
        return "an integer above 2^53 has no exact double"
    return None if -_MAX_VALUE < value < _MAX_VALUE else "too large for a reading"


def _pointer(name: str) -> str:
    text = name if len(name) <= 100 else name[:99] + "…"  # noqa: PLR2004 - enough to recognize it
    return "/" + text.replace("~", "~0").replace("/", "~1")


def _parse_json(text: str, subject: str) -> Any:
    try:
        document = json.loads(text, parse_constant=_reject_constant)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ProblemError("malformed", f"{subject} has half a surrogate pair, which is no text.") from error
    except RecursionError as error:
        raise ProblemError("malformed", f"{subject} is nested too deeply.") from error
    except ValueError as error:
        raise ProblemError("malformed", f"{subject} is not JSON: {error}") from error
    return document


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def group_by_device(items: Sequence[dict[str, Any]], limit: int = MAX_PER_MESSAGE) -> list[Message]:
    """Return the MQTT messages to publish: the readings of each device in order, up to ``limit`` per message."""
    devices: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        devices.setdefault(item["device_id"], []).append(number)
    messages = []
    for device, numbers in devices.items():
        for begin in range(0, len(numbers), limit):
            part = numbers[begin : begin + limit]
            content = items[part[0]] if len(part) == 1 else [items[number] for number in part]
            messages.append(Message(device, _to_json(content).encode(), tuple(part)))
    return messages


_to_json: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":")).encode
