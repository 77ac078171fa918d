"""CPU time of decoding one message, by format: from topic and bytes to readings, through the whole decoder.

    python bench/decode.py [--record]

``fields`` is timed with one reading a message and with fifty, no time of which was ever seen before; every other format
with each sample that holds a reading, all of its quantities listed in the registry. Births of Sparkplug are timed
twice: the same message again, as a decoder sees it that has to register its sensors first, and a new one each time,
with another arrival and other times. Microseconds, the least of many short runs: what the work itself costs, whatever
else the machine does. With --record results go to bench/results/decode.json.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import orjson
from fuzz import ARRIVED, registry_of, samples
from mutate import Sample
from rig import machine

from collector import registry
from collector.decoder import Decoder
from collector.formats.sparkplug_payload import Payload
from collector.message import Message, NoReadingError, UndecodableError
from collector.roster import UnregisteredError

RESULTS = Path(__file__).parent / "results"
REPEATS, SECONDS = 400, 0.001
NEW = 10_000
"""Messages that are made beforehand where none may be like the one before it."""
LIMITS = {"fields, one reading": 5.0, "fields, fifty readings, each": 1.0}
"""Microseconds; any other message has 30."""


def microseconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of one call, in microseconds."""
    best, calls = float("inf"), 1
    for _ in range(REPEATS):
        turns = range(calls)
        begun = time.process_time_ns()
        for _ in turns:
            work()
        took = (time.process_time_ns() - begun) / 1e9
        best = min(best, took / calls)
        calls = max(1, int(SECONDS / max(took / calls, 1e-7)))
    return best * 1e6


def fields(readings: int) -> tuple[Decoder, Message]:
    """Return a decoder and one message of the product's own kind with so many readings."""
    entry = {"sensor_id": "t1", "type": "t", "site": "s", "area": "a", "topic": "s/t1"}
    kind = {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}
    known = registry.parse(orjson.dumps({"subscribe": ["s/#"], "types": {"t": kind}, "sensors": [entry]}))
    items = [
        {"device_id": "t1", "timestamp": f"2026-11-22T08:00:{n:02}.123Z", "temperature": 20 + n / 10, "tag": "T"}
        for n in range(readings)
    ]
    payload = orjson.dumps(items[0] if readings == 1 else items)
    return Decoder(known, {("t1", "temperature"): 1}), Message("s/t1", payload, ARRIVED)


def prepared(sample: Sample) -> tuple[Decoder, int] | None:
    """Return a decoder that knows the sensors of ``sample`` and how many readings it finds; None: it finds none."""
    decoder, numbers = Decoder(registry.parse(registry_of([sample])), {}), count(1)
    message = Message(sample.topic, sample.payload, ARRIVED)
    with suppress(NoReadingError, UndecodableError):
        for _ in range(3):
            try:
                return decoder, len(decoder.decode(message).readings)
            except UnregisteredError as error:
                for roster, sensor, quantity in error.discoveries:
                    roster.settle(sensor, quantity, next(numbers))
    return None


def births(message: Message) -> list[Message]:
    """Return births like ``message``, each a second after the one before it."""
    payload, found = Payload.FromString(message.payload), []
    for number in range(1, NEW + 1):
        payload.timestamp += 1000
        for metric in payload.metrics:
            if metric.timestamp:
                metric.timestamp += 1000
        received = message.received + number * 1_000_000
        found.append(message._replace(payload=payload.SerializeToString(), received=received))
    return found


def main() -> int:
    """Time all formats; the exit status is 1 where one takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    record = parser.parse_args().record
    found: dict[str, float] = {}
    for readings, name in ((1, "fields, one reading"), (50, "fields, fifty readings, each")):
        decoder, message = fields(readings)
        # A week of such messages, one a minute.
        minutes = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(NEW))
        texts = (
            message.payload.replace(b"2026-11-22T08:00", f"{minute:%Y-%m-%dT%H:%M}".encode()) for minute in minutes
        )
        turns = itertools.cycle([message._replace(payload=text) for text in texts])
        found[name] = microseconds(lambda d=decoder.decode, turns=turns: d(next(turns))) / readings
    for sample in samples():
        ready = prepared(sample) if sample.form != "fields" else None
        if ready is None or not ready[1]:
            continue
        decoder, readings = ready
        message = Message(sample.topic, sample.payload, ARRIVED)
        name = f"{sample.form}, {sample.topic}, {len(sample.payload)} bytes, {readings} readings"
        found[name] = microseconds(lambda d=decoder.decode, m=message: d(m))
        if "BIRTH/" in sample.topic:
            turns = itertools.cycle(births(message))
            found[f"{name}, new"] = microseconds(lambda d=decoder.decode, turns=turns: d(next(turns)))
    late = [name for name, one in found.items() if one > LIMITS.get(name, 30.0)]
    for name, one in found.items():
        print(f"{one:8.2f} µs  {name}{'   TOO LONG' if name in late else ''}")
    if record:
        about = {**machine(), "date": datetime.now(UTC).date().isoformat()}
        result = {"about": about, "microseconds": {name: round(one, 2) for name, one in found.items()}}
        (RESULTS / "decode.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
