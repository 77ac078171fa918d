"""What may be posted: readings in the two forms that devices use, checked before anything is published. Pure.

    {"device_id": "t1", "timestamp": "2026-03-28T20:04:22Z", "temperature": 25.2, "tag": "lab"}          wide
    {"device_id": "t1", "timestamp": "2026-03-28T20:04:22Z", "sensor": "temperature", "value": 25.2}     narrow

They are published as they came, so that the archive holds what was sent; what they mean is the collector's business.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from access import times
from access.problems import ProblemError

MOST = 10_000
"""Readings in a request."""

PER_MESSAGE = 500
"""Readings in one MQTT message."""

Body = Literal["application/json", "application/x-ndjson"]

_DEVICE = re.compile(r"[\w.:-]{1,100}")
_SHARED = {"device_id", "timestamp", "tag"}
_NARROW = {"sensor", "value"}
_CLOCK = re.compile(r"\d[Tt ]\d")
_EXACT = 2**53
_LARGEST = 1e290
_SHOWN = 20
"""Mistakes that are told of one request."""


@dataclass(frozen=True)
class Message:
    """Readings of one device that go out together. ``numbers`` says which of the request's they are."""

    device: str
    payload: bytes
    numbers: tuple[int, ...]


def media_type(header: str | None, encoding: str | None) -> Body:
    """Return what the headers Content-Type and Content-Encoding say the body is; raises :class:`ProblemError`."""
    name = (header or "").split(";")[0].strip().lower()
    if encoding not in (None, "", "identity"):
        raise ProblemError("wrong-media-type", f"The body is compressed ({encoding}); send it as it is.")
    if name == "application/json":
        return "application/json"
    if name in ("application/x-ndjson", "application/ndjson"):
        return "application/x-ndjson"
    said = f"The body is said to be {name}" if name else "Nothing says what the body is"
    raise ProblemError("wrong-media-type", f"{said}; send the header Content-Type: application/json.")


def read(body: bytes, kind: Body) -> tuple[list[dict[str, Any]], bool]:
    """Return the readings in ``body``, and whether it is a list; raises :class:`ProblemError` with what is wrong."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError("malformed", f"The body is not UTF-8 at byte {error.start}.") from error
    if kind == "application/json":
        document = _json(text, "The body")
        alone = not isinstance(document, list)
        items = [document] if alone else document
    else:
        alone = False
        numbered = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        items = [_json(line, f"Line {number}") for number, line in numbered]
    if not items:
        raise ProblemError("invalid", "There is no reading in the body.")
    if len(items) > MOST:
        raise ProblemError("too-large", f"{len(items):,} readings; a request may hold {MOST:,}.")
    errors: list[dict[str, str]] = []
    for index, item in enumerate(items):
        for where, wrong in mistakes(item):
            errors.append({"pointer": f"#{where}" if alone else f"#/{index}{where}", "detail": wrong})
        if len(errors) >= _SHOWN:
            break
    if errors:
        raise ProblemError("invalid", "Nothing was accepted: there are mistakes in the body.", errors[:_SHOWN])
    return items, not alone


def mistakes(item: Any) -> Iterator[tuple[str, str]]:
    """Yield where (a JSON Pointer) and what is wrong in what should be a reading."""
    if not isinstance(item, dict):
        yield "", "an object is due"
        return
    if not isinstance(device := item.get("device_id"), str) or not _DEVICE.fullmatch(device):
        yield "/device_id", "the device's name is due: letters, digits and _ . : - (100 at most)"
    if (wrong := _time(item.get("timestamp"))) is not None:
        yield "/timestamp", wrong
    if "tag" in item and not isinstance(item["tag"], (str, type(None))):
        yield "/tag", "a text is due"
    yield from _narrow(item) if "sensor" in item else _wide(item)


def _narrow(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(item["sensor"], str) or not item["sensor"]:
        yield "/sensor", "the name of the quantity is due, such as temperature"
    if (wrong := _value(item.get("value"))) is not None:
        yield "/value", wrong
    for name in item.keys() - _SHARED - _NARROW:
        yield _pointer(name), "not known beside `sensor` and `value`; leave it out"


def _wide(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = [name for name in item if name not in _SHARED]
    if not values:
        yield "", "no value: add a quantity such as temperature, or `sensor` and `value`"
    for name in values:
        if (wrong := _value(item[name])) is not None:
            yield _pointer(name), wrong


def _time(value: Any) -> str | None:
    mend = "an ISO 8601 time with Z or an offset is due, such as 2026-03-01T12:00:00Z"
    if not isinstance(value, str) or not _CLOCK.search(value):
        return mend
    try:
        times.instant(value)
    except ValueError:
        return mend
    return None


def _value(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if not isinstance(value, (int, float)):
        return "a number, or true or false, is due"
    if isinstance(value, int) and abs(value) > _EXACT:
        return "an integer beyond 2^53 has no exact double"
    return None if -_LARGEST < value < _LARGEST else "too large for a reading"


def _pointer(name: str) -> str:
    text = name if len(name) <= 100 else name[:99] + "…"  # noqa: PLR2004 - enough to know it again
    return "/" + text.replace("~", "~0").replace("/", "~1")


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ProblemError("malformed", f"{what} is nested too deeply.") from error
    except ValueError as error:
        raise ProblemError("malformed", f"{what} is not JSON: {error}") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def messages(items: Sequence[dict[str, Any]], most: int = PER_MESSAGE) -> list[Message]:
    """Return what is to be published: the readings of each device in their order, ``most`` at a time."""
    devices: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        devices.setdefault(item["device_id"], []).append(number)
    found = []
    for device, numbers in devices.items():
        for begin in range(0, len(numbers), most):
            part = numbers[begin : begin + most]
            content = items[part[0]] if len(part) == 1 else [items[number] for number in part]
            found.append(Message(device, _written(content).encode(), tuple(part)))
    return found


_written: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":")).encode
