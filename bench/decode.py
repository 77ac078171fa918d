"""Benchmark: CPU time of decoding one message, by format, from topic and bytes to readings.

    python bench/decode.py [--rounds N] [--record]

``fields`` is timed with one and with fifty readings per message, always with new times; every other format with each
sample that has a reading, with all quantities in the registry. Sparkplug births are timed twice: the same message
repeated, as for a decoder that must register its sensors first, and a new one each time, with other times.

Reported are microseconds: the minimum of many short runs, which is compared with the limits, and in brackets the
calibrated median. On shared cores the speed of a machine changes by half within minutes. Runs therefore alternate over
all messages, and a loop of fixed work is timed between them; the calibrated median scales each run as if the loop had
taken CALIBRATION, so that results of different hours are comparable. With --record results are written to
bench/results/decode.json, with minimum and median of the loop. A Python built with profile-guided optimisation decodes
in a sixth less time than one built without.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import orjson
from fuzz import ARRIVED, registry_of, samples
from mutate import Sample
from rig import machine

from collector.decode.decoder import Decoder
from collector.formats.sparkplug.payload import Payload
from collector.message import Message, NoReadingError, UndecodableError
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

RESULTS = Path(__file__).parent / "results"
SECONDS = 0.004
"""Duration of one run."""
CALIBRATION = 1.38
"""Microseconds; minimum of calibrate() on the machine of the recorded results."""
NEW = 10_000
"""Number of prepared messages for cases in which each message must be new."""
LIMITS = {"fields, one reading": 5.0, "fields, fifty readings, each": 1.0}
"""Limits in microseconds; 30 for all other messages."""


def calibrate() -> object:
    """Do a fixed amount of work of the same kind as decoding: look-ups and tuples."""
    known = {"a": 1, "b": 2.5}
    return [(known.get("a"), number, known["b"]) for number in range(20)]


def timed(work: Callable[[], object], calls: int) -> float:
    """Return the CPU time of one call, in microseconds."""
    iterations = range(calls)
    started = time.process_time_ns()
    for _ in iterations:
        work()
    return (time.process_time_ns() - started) / calls / 1000


def microseconds(
    work: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, tuple[float, float]], list[float]]:
    """Return minimum and calibrated median of the CPU time of one call, by name, and the times of the loop."""
    calls = dict.fromkeys(work, 1)
    minimum = dict.fromkeys(work, float("inf"))
    calibrated: dict[str, list[float]] = {name: [] for name in work}
    loops = [timed(calibrate, 400)]
    for _ in range(rounds):
        for name, decode in work.items():
            duration = timed(decode, calls[name])
            loops.append(timed(calibrate, 400))
            minimum[name] = min(minimum[name], duration)
            calibrated[name].append(duration / (loops[-2] + loops[-1]) * 2 * CALIBRATION)
            calls[name] = max(1, int(SECONDS * 1e6 / max(duration, 0.1)))
    return {name: (minimum[name], statistics.median(medians)) for name, medians in calibrated.items()}, loops


def fields(readings: int) -> tuple[Decoder, Message]:
    """Return a decoder and one message of the format ``fields`` with this number of readings."""
    entry = {"sensor_id": "t1", "type": "t", "site": "s", "area": "a", "topic": "s/t1"}
    kind = {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}
    known = sensors_file.parse(orjson.dumps({"subscribe": ["s/#"], "types": {"t": kind}, "sensors": [entry]}))
    items = [
        {"device_id": "t1", "timestamp": f"2026-11-22T08:00:{n:02}.123Z", "temperature": 20 + n / 10, "tag": "T"}
        for n in range(readings)
    ]
    payload = orjson.dumps(items[0] if readings == 1 else items)
    return Decoder(known, {("t1", "temperature"): 1}), Message("s/t1", payload, ARRIVED)


def prepared(sample: Sample) -> tuple[Decoder, int] | None:
    """Return a decoder with the sensors of ``sample`` and its number of readings; None if it has none."""
    decoder, numbers = Decoder(sensors_file.parse(registry_of([sample])), {}), count(1)
    message = Message(sample.topic, sample.payload, ARRIVED)
    with suppress(NoReadingError, UndecodableError):
        for _ in range(3):
            try:
                return decoder, len(decoder.decode(message).readings)
            except UnregisteredError as error:
                for registered, sensor, quantity in error.discoveries:
                    registered.record(sensor, quantity, next(numbers))
    return None


def births(message: Message) -> list[Message]:
    """Return copies of the birth ``message``, each a second later than the previous one."""
    payload, copies = Payload.FromString(message.payload), []
    for number in range(1, NEW + 1):
        payload.timestamp += 1000
        for metric in payload.metrics:
            if metric.timestamp:
                metric.timestamp += 1000
        received = message.received + number * 1_000_000
        copies.append(message._replace(payload=payload.SerializeToString(), received=received))
    return copies


def messages() -> dict[str, tuple[Callable[[], object], int]]:
    """Return by name a function that decodes a message, and the divisor of its time."""
    work: dict[str, tuple[Callable[[], object], int]] = {}
    for readings, name in ((1, "fields, one reading"), (50, "fields, fifty readings, each")):
        decoder, message = fields(readings)
        # A week of messages, one per minute.
        minutes = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(NEW))
        texts = (
            message.payload.replace(b"2026-11-22T08:00", f"{minute:%Y-%m-%dT%H:%M}".encode()) for minute in minutes
        )
        turns = itertools.cycle([message._replace(payload=text) for text in texts])
        work[name] = (lambda d=decoder.decode, turns=turns: d(next(turns))), readings
    for sample in samples():
        ready = prepared(sample) if sample.format != "fields" else None
        if ready is None or not ready[1]:
            continue
        decoder, readings = ready
        message = Message(sample.topic, sample.payload, ARRIVED)
        name = f"{sample.format}, {sample.topic}, {len(sample.payload)} bytes, {readings} readings"
        work[name] = (lambda d=decoder.decode, m=message: d(m)), 1
        if "BIRTH/" in sample.topic:
            turns = itertools.cycle(births(message))
            work[f"{name}, new"] = (lambda d=decoder.decode, turns=turns: d(next(turns))), 1
    return work


def main() -> int:
    """Time all formats; the exit status is 1 if one exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="runs of each message (200, two minutes)")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    work = messages()
    times, loops = microseconds({name: decode for name, (decode, _) in work.items()}, arguments.rounds)
    times_per_reading = {
        name: (minimum / work[name][1], median / work[name][1]) for name, (minimum, median) in times.items()
    }
    too_slow = [name for name, (minimum, _) in times_per_reading.items() if minimum > LIMITS.get(name, 30.0)]
    for name, (minimum, median) in times_per_reading.items():
        print(f"{minimum:8.2f} µs ({median:.2f})  {name}{'   TOO SLOW' if name in too_slow else ''}")
    if arguments.record:
        loop = {"least": min(loops), "median": statistics.median(loops), "counts as": CALIBRATION}
        about = {**machine(), "date": datetime.now(UTC).date().isoformat()}
        result = {
            "about": about,
            "calibration": {name: round(duration, 2) for name, duration in loop.items()},
            "microseconds": {name: round(minimum, 2) for name, (minimum, _) in times_per_reading.items()},
            "calibrated": {name: round(median, 2) for name, (_, median) in times_per_reading.items()},
        }
        (RESULTS / "decode.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 1 if too_slow else 0


if __name__ == "__main__":
    sys.exit(main())
