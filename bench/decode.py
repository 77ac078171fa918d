"""CPU time of decoding one message, by format: from topic and bytes to readings, through the whole decoder.

    python bench/decode.py [--rounds N] [--record]

``fields`` is timed with one reading a message and with fifty, no time of which was ever seen before; every other format
with each sample that holds a reading, all of its quantities listed in the registry. Births of Sparkplug are timed
twice: the same message again, as a decoder sees it that has to register its sensors first, and a new one each time,
with another arrival and other times. Microseconds, the least of many short runs, by which the limits are judged. Where
cores are shared a machine's speed changes by half within minutes: runs go round all messages, so that each has its turn
in every phase, and a loop of fixed work is timed between them; in brackets is the median of the runs, each as if the
loop had taken CALIBRATION: figures of different hours compare by these. With --record results go to
bench/results/decode.json, with the loop's own least and median time. A distribution's Python, built by profile, decodes
in a sixth less time than one that was compiled without.
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
"""Of one run."""
CALIBRATION = 1.38
"""Microseconds; the least that one calibrate() was seen to take on the machine of the recorded results."""
NEW = 10_000
"""Messages that are made beforehand where none may be like the one before it."""
LIMITS = {"fields, one reading": 5.0, "fields, fifty readings, each": 1.0}
"""Microseconds; any other message has 30."""


def calibrate() -> object:
    """Do what decoding does, look-ups and tuples, always the same."""
    known = {"a": 1, "b": 2.5}
    return [(known.get("a"), number, known["b"]) for number in range(20)]


def timed(work: Callable[[], object], calls: int) -> float:
    """Return the CPU time of one call, in microseconds."""
    turns = range(calls)
    begun = time.process_time_ns()
    for _ in turns:
        work()
    return (time.process_time_ns() - begun) / calls / 1000


def microseconds(
    work: Mapping[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, tuple[float, float]], list[float]]:
    """Return CPU times of one call by name, the least and the calibrated median, and those of the loop."""
    calls = dict.fromkeys(work, 1)
    least = dict.fromkeys(work, float("inf"))
    calibrated: dict[str, list[float]] = {name: [] for name in work}
    loops = [timed(calibrate, 400)]
    for _ in range(rounds):
        for name, one in work.items():
            took = timed(one, calls[name])
            loops.append(timed(calibrate, 400))
            least[name] = min(least[name], took)
            calibrated[name].append(took / (loops[-2] + loops[-1]) * 2 * CALIBRATION)
            calls[name] = max(1, int(SECONDS * 1e6 / max(took, 0.1)))
    return {name: (least[name], statistics.median(found)) for name, found in calibrated.items()}, loops


def fields(readings: int) -> tuple[Decoder, Message]:
    """Return a decoder and one message of the product's own kind with so many readings."""
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
    """Return a decoder that knows the sensors of ``sample`` and how many readings it finds; None: it finds none."""
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


def messages() -> dict[str, tuple[Callable[[], object], int]]:
    """Return what decodes a message, by its name, and what its time is divided by."""
    found: dict[str, tuple[Callable[[], object], int]] = {}
    for readings, name in ((1, "fields, one reading"), (50, "fields, fifty readings, each")):
        decoder, message = fields(readings)
        # A week of such messages, one a minute.
        minutes = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(NEW))
        texts = (
            message.payload.replace(b"2026-11-22T08:00", f"{minute:%Y-%m-%dT%H:%M}".encode()) for minute in minutes
        )
        turns = itertools.cycle([message._replace(payload=text) for text in texts])
        found[name] = (lambda d=decoder.decode, turns=turns: d(next(turns))), readings
    for sample in samples():
        ready = prepared(sample) if sample.form != "fields" else None
        if ready is None or not ready[1]:
            continue
        decoder, readings = ready
        message = Message(sample.topic, sample.payload, ARRIVED)
        name = f"{sample.form}, {sample.topic}, {len(sample.payload)} bytes, {readings} readings"
        found[name] = (lambda d=decoder.decode, m=message: d(m)), 1
        if "BIRTH/" in sample.topic:
            turns = itertools.cycle(births(message))
            found[f"{name}, new"] = (lambda d=decoder.decode, turns=turns: d(next(turns))), 1
    return found


def main() -> int:
    """Time all formats; the exit status is 1 where one takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="runs of each message (200, two minutes)")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    work = messages()
    times, loops = microseconds({name: one for name, (one, _) in work.items()}, arguments.rounds)
    found = {name: (least / work[name][1], median / work[name][1]) for name, (least, median) in times.items()}
    late = [name for name, (least, _) in found.items() if least > LIMITS.get(name, 30.0)]
    for name, (least, median) in found.items():
        print(f"{least:8.2f} µs ({median:.2f})  {name}{'   TOO LONG' if name in late else ''}")
    if arguments.record:
        loop = {"least": min(loops), "median": statistics.median(loops), "counts as": CALIBRATION}
        about = {**machine(), "date": datetime.now(UTC).date().isoformat()}
        result = {
            "about": about,
            "calibration": {name: round(one, 2) for name, one in loop.items()},
            "microseconds": {name: round(least, 2) for name, (least, _) in found.items()},
            "calibrated": {name: round(median, 2) for name, (_, median) in found.items()},
        }
        (RESULTS / "decode.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
