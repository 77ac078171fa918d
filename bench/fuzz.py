"""Fuzzer: mutated device messages for every payload format; only the two expected errors may be raised.

    python bench/fuzz.py [--messages 1000000] [--format NAME] [--seed N]

Each message is a sample of tests/payloads or of this file with one to four mutations. It is read by a reader of its
own format and of another format, and decoded by the decoder. With each message one value of its sample is replaced too:
all other readings must stay, and that value must be counted (value_mutations.py).
Counts are written to bench/results/fuzz.json; the exit
status is 1 if another exception was raised, or if one message took more than a second of CPU time.
"""

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from mutate import Mutator, Sample
from pydantic import TypeAdapter
from rig import machine
from value_mutations import ValueMutations

from collector import units
from collector.decode.decoder import Decoder
from collector.formats.measurement import Reader, Topic
from collector.formats.sparkplug.payload import Payload
from collector.formats.supported import FORMATS, Format
from collector.message import Message, NoReadingError, Reason, UndecodableError
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SAMPLES = HERE.parent / "tests" / "payloads"
SLOW_SECONDS = 1.0
ARRIVED = 1_900_000_000_000_000
"""Microseconds since 1970; each message arrives a millisecond after the previous one."""
RENEW_AFTER = 20_000
"""Number of messages after which readers and decoder, which have state, are replaced."""

FAMILIES = {
    "ttn_v3": "things_stack", "chirpstack": "chirpstack", "senml": "senml", "sparkplug_b": "sparkplug",
    "tasmota": "tasmota", "zigbee2mqtt": "zigbee2mqtt", "shelly": "shelly", "zwavejs": "zwave_js",
    "thingsboard": "thingsboard", "opcua_pubsub": "opcua_pubsub", "esphome": "value", "homie5": "value",
    "ha_statestream": "value", "hubitat": "value",
}  # fmt: skip
"""Prefix of a sample's name → its format; others have the format ``fields``."""

LINES = [
    (
        b"cpu,host=server01,region=us\\ west usage_user=12.5,usage_system=3.4,n=3i,u=4u,ok=t 1465839830100400200\n"
        b'weather,location=a\\,b\\=c temperature=82,text="too \\"warm\\"\nhere" 1465839830100400200\n# a comment\n'
    ),
    b"m f=1\nbad line\nm,tag=x g=-1e3,h=NaN 12",
]


@dataclass
class Tally:
    """Outcomes of the messages of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "things_stack": [{}, {"payload": "normalized", "radio": True}, {"time": "application"}],
    "chirpstack": [{}, {"device": "name", "radio": True}],
    "senml": [{}, {"separator": ":"}],
    "influx": [{}, {"device_tag": "host", "quantity": "measurement/field"}, {"precision": "s"}],
    "tasmota": [{}, {"timezone": "Europe/Berlin"}],
    "value": [{}, {"unit_suffix": True}],
}
"""Options of formats that have any; messages alternate between them."""


def samples() -> list[Sample]:
    """Return all samples: those of tests/payloads, Sparkplug payloads, and InfluxDB line protocol."""
    collected = [Sample("influx", "telegraf/server01/cpu", lines) for lines in LINES]
    for path in sorted(SAMPLES.glob("*.json")):
        content = json.loads(path.read_text())
        format_ = next((name for start, name in FAMILIES.items() if path.name.startswith(start)), "fields")
        topic = content["topic"] or "a/b"
        if format_ == "sparkplug":
            collected.append(Sample(format_, topic, sparkplug(content["payload"])))
        else:
            collected.append(Sample(format_, topic, content["payload_raw"].encode()))
    metrics = [
        {"name": "bdSeq", "long_value": 4, "datatype": 4},
        {"name": "Load", "alias": 0, "datatype": 2, "int_value": 2**32 - 3},
        {"name": "Flow", "alias": 7, "datatype": 9, "float_value": 1.5},
        {"name": "State", "alias": 8, "datatype": 12, "is_null": True},
    ]
    data = [{"alias": 0, "int_value": 5}, {"alias": 7, "float_value": 2.5, "timestamp": 1486144502122}]
    for verb, device, sent, seq in (
        ("NBIRTH", "", metrics, 0), ("DBIRTH", "/pump", metrics, 1), ("NDATA", "", data, 2),
        ("DDATA", "/pump", data, 3), ("NDEATH", "", metrics[:1], None),
    ):  # fmt: skip
        payload = Payload(timestamp=1486144502122, metrics=sent, **({} if seq is None else {"seq": seq}))
        collected.append(Sample("sparkplug", f"spBv1.0/plant/{verb}/edge{device}", payload.SerializeToString()))
    return collected


def sparkplug(content: dict[str, Any]) -> bytes:
    """Encode a payload from the JSON rendering of the specification."""
    types = {"Boolean": (11, "boolean_value"), "Float": (9, "float_value"), "String": (12, "string_value")}
    payload = Payload(timestamp=content["timestamp"], seq=content["seq"])
    for metric in content.get("metrics", ()):
        number, member = types[metric["dataType"]]
        named = {"name": metric["name"], "timestamp": metric["timestamp"], "datatype": number}
        payload.metrics.add(**named, **{member: metric["value"]})
    wire: bytes = payload.SerializeToString()
    return wire


@dataclass
class Escape:
    """A message that caused an unexpected exception or took too long."""

    reader: str
    problem: str
    topic: str
    payload: bytes

    def __str__(self) -> str:
        payload = self.payload if len(self.payload) <= 2_000 else self.payload[:2_000] + b"..."
        return f"{self.reader}: {self.problem}\n  topic {self.topic!r}\n  payload {payload!r}"


class FuzzTarget:
    """Readers of all formats and a decoder, with the outcomes of the messages so far."""

    def __init__(self, samples: list[Sample], only: str | None) -> None:
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.escapes: list[Escape] = []
        self._values: dict[Sample, ValueMutations] = {}
        self._random = random.Random(1)
        self._options = TypeAdapter(Format)
        self._formats = [only] if only else [name for name in FORMATS if name != "fields"]
        self._registry = sensors_file.parse(registry_of(samples))
        self.renew()

    def renew(self) -> None:
        """Replace readers and decoder."""
        self._readers: dict[str, list[Reader]] = {
            name: [
                self._options.validate_python({"name": name, **options}).reader() for options in OPTIONS.get(name, [{}])
            ]
            for name in self._formats
        }
        self._series = count(1)
        ids = {
            (sensor.sensor_id, name): next(self._series)
            for sensor in self._registry.sensors
            for name in sensor.quantities
        }
        self._decoder = Decoder(self._registry, ids)

    def run(self, number: int, format_: str, message: Message) -> None:
        """Read and decode ``message``."""
        other = self._formats[number % len(self._formats)]
        for name in dict.fromkeys((format_, other)):
            readers = self._readers.get(name)
            if readers:
                reader = readers[number % len(readers)]
                names = {"#": message.topic.partition("/")[2], "sensor": message.topic.partition("/")[0]}
                self._try(name, message, lambda reader=reader, names=names: self._read(reader, message, names))
        self._try("decoder", message, lambda: self._decode(message))

    def check_values(self, sample: Sample, message: Message) -> None:
        """Replace one value of ``sample``; report it where another reading is missing or the value is not counted."""
        mutations = self._values.get(sample)
        if mutations is None:
            mutations = self._values[sample] = ValueMutations(sample, registry_of([sample]), ARRIVED)
        problem = mutations.check(self._random)
        self.tallies["values"].outcomes["counted" if problem is None else "not counted"] += 1
        if problem is not None:
            self._report("values", problem, message)

    def _try(self, name: str, message: Message, action: Callable[[], str]) -> None:
        tally = self.tallies[name]
        started = time.process_time()
        try:
            outcome = action()
        except NoReadingError:
            outcome = "no reading"
        except UndecodableError as error:
            outcome = error.rejection.reason.value
            if error.rejection.reason is Reason.DEFECT:
                self._report(name, error.rejection.detail, message)
        except BaseException:  # noqa: BLE001 - any other exception is a finding
            outcome = "escaped"
            self._report(name, traceback.format_exc(limit=-3), message)
        duration = time.process_time() - started
        tally.outcomes[outcome] += 1
        if duration > tally.slowest_seconds:
            tally.slowest_seconds = duration
            if duration > SLOW_SECONDS:
                self._report(name, f"{duration:.1f} s", message)

    def _report(self, name: str, problem: str, message: Message) -> None:
        self.escapes.append(Escape(name, problem, message.topic, message.payload))
        if len(self.escapes) <= 20:
            print(self.escapes[-1], file=sys.stderr, flush=True)

    @staticmethod
    def _read(reader: Reader, message: Message, names: dict[str, str]) -> str:
        measurements = reader.read(message, Topic(names))
        if not measurements:
            raise AssertionError("no measurement and no error")
        for quantity, value, instant, unit, device, problem in measurements:
            valid = type(quantity) is str and type(value) in (int, float, bool, str) and type(device) is str
            if not valid or type(instant) not in (int, type(None)) or type(unit) not in (str, type(None)):
                raise AssertionError(
                    f"invalid result: {quantity!r} {value!r} {instant!r} {unit!r} {device!r} {problem!r}"
                )
        return "measured"

    def _decode(self, message: Message) -> str:
        try:
            decoded = self._decoder.decode(message)
        except UnregisteredError as error:
            for registered, sensor, quantity in error.discoveries:  # as the database would
                registered.record(sensor, quantity, next(self._series))
            decoded = self._decoder.decode(message)
        for series_id, instant, value in decoded.readings:
            if type(series_id) is not int or type(instant) is not int or not -1e290 < value < 1e290:
                raise AssertionError(f"invalid result: {series_id!r} {instant!r} {value!r}")
        return "read" if decoded.readings else "held back"


def registry_of(samples: list[Sample]) -> bytes:
    """Return a registry with one sensor pattern per sample and the quantities that its format reads from the sample."""
    options: TypeAdapter[Any] = TypeAdapter(Format)
    types: dict[str, Any] = {}
    entries: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(samples):
        sources = {"humidity"}
        if sample.format != "fields":
            reader = options.validate_python(sample.format).reader()
            with suppress(NoReadingError, UndecodableError):
                measurements = reader.read(Message(sample.topic, sample.payload, ARRIVED), Topic({"#": sample.topic}))
                sources |= {quantity for quantity, *_ in measurements if quantity}
        named = {} if sample.format == "fields" else {"states": {"ON": 1}}
        quantities = {
            f"q{place}": {"unit": "Cel", "interval_seconds": 60, **named, **({"source": source} if named else {})}
            for place, source in enumerate(sorted(sources))
        }
        first, _, rest = sample.topic.partition("/")
        pattern = f"{first}/{{sensor}}/#" if rest and sample.format != "sparkplug" else f"{first}/#"
        if sample.format == "value":  # its topics contain the quantity
            *before, last = rest.split("/")[1:] or ["state"]
            pattern = "/".join([first, "{sensor}", *("+" for _ in before), "{quantity}"])
            quantities["named"] = {"unit": "1", "interval_seconds": 60, "source": last, "states": {"ON": 1}}
        types[f"t{number}"] = {"format": sample.format, "quantities": quantities}
        about = {"type": f"t{number}", "site": "here", "area": "hall", "discover": True}
        # Samples of one format share their first topic level; the first sample's pattern matches their messages.
        entries.setdefault(pattern, {**about, "topic": pattern, "sensor_id": f"s{number}-{{device}}"})
    used = {entry["type"] for entry in entries.values()}
    used_types = {name: definition for name, definition in types.items() if name in used}
    return orjson.dumps({"subscribe": ["#"], "types": used_types, "sensors": list(entries.values())})


def endless(only: str | None, samples: list[Sample]) -> Iterator[Sample]:
    """Yield the samples (of the format ``only``) in an endless loop."""
    selected = [sample for sample in samples if only in (None, sample.format)] or samples
    while True:
        yield from selected


def fuzz(messages: int, only: str | None, seed: int) -> tuple[FuzzTarget, float]:
    """Run ``messages`` mutated messages; return the target with its outcomes, and the duration in seconds."""
    collected = samples()
    mutator, target = Mutator(seed, collected), FuzzTarget(collected, only)
    units.conversion("[degF]", "Cel")  # loads the units library, which takes seconds once
    turns = endless(only, collected)
    started = time.monotonic()
    for number in range(messages):
        if number % RENEW_AFTER == RENEW_AFTER - 1:
            target.renew()
            count_ = number + 1
            print(f"{count_:,} messages, {count_ / (time.monotonic() - started):,.0f}/s", file=sys.stderr, flush=True)
        sample = next(turns)
        message = mutator.message(sample, ARRIVED + number * 1000)
        target.run(number, sample.format, message)
        target.check_values(sample, message)
    return target, time.monotonic() - started


def record(name: str, target: FuzzTarget, messages: int, seconds: float, options: argparse.Namespace) -> str:
    """Write the outcomes to bench/results/NAME.json; return them as text."""
    result = {
        "about": {**machine(), "date": datetime.now(UTC).date().isoformat()},
        "messages": messages,
        "seed": options.seed,
        "format": options.format or "all",
        "seconds": round(seconds, 1),
        "escaped": len(target.escapes),
        "slowest_milliseconds": round(1000 * max(tally.slowest_seconds for tally in target.tallies.values()), 1),
        "outcomes": {name: dict(tally.outcomes.most_common()) for name, tally in sorted(target.tallies.items())},
    }
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    return text


def main() -> int:
    """Fuzz, record and print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--format", choices=FORMATS, help="only the samples and the readers of this format")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    target, seconds = fuzz(options.messages, options.format, options.seed)
    print(record("fuzz", target, options.messages, seconds, options))
    return 1 if target.escapes else 0


if __name__ == "__main__":
    sys.exit(main())
