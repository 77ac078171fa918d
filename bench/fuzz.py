"""Mutated device messages through every payload format: nothing but the two errors may come out, and soon.

    python bench/fuzz.py [--messages 1000000] [--format NAME] [--seed N]

Each message is a sample of tests/payloads or of this file, changed in one to four ways. It goes to a reader of its
family's format, to one of another format, and through the whole decoder. Counts go to bench/results/fuzz.json; the exit
status is 1 if anything else escaped, or if one message took more than a second of CPU time.
"""

import argparse
import json
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
"""Microseconds since 1970; each message arrives a millisecond after the one before it."""
AT_A_TIME = 20_000
"""Messages; readers that keep a state begin anew after so many."""

FAMILIES = {
    "ttn_v3": "things_stack", "chirpstack": "chirpstack", "senml": "senml", "sparkplug_b": "sparkplug",
    "tasmota": "tasmota", "zigbee2mqtt": "zigbee2mqtt", "shelly": "shelly", "zwavejs": "zwave_js",
    "thingsboard": "thingsboard", "opcua_pubsub": "opcua_pubsub", "esphome": "value", "homie5": "value",
    "ha_statestream": "value", "hubitat": "value",
}  # fmt: skip
"""How the names of samples begin → their format; others are read by ``fields``."""

LINES = [
    (
        b"cpu,host=server01,region=us\\ west usage_user=12.5,usage_system=3.4,n=3i,u=4u,ok=t 1465839830100400200\n"
        b'weather,location=a\\,b\\=c temperature=82,text="too \\"warm\\"\nhere" 1465839830100400200\n# a comment\n'
    ),
    b"m f=1\nbad line\nm,tag=x g=-1e3,h=NaN 12",
]


@dataclass
class Tally:
    """What became of the messages of one format."""

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
"""Of formats that have any; each message takes one of them in turn."""


def samples() -> list[Sample]:
    """Return all samples: those of tests/payloads, Sparkplug on the wire, and lines of line protocol."""
    found = [Sample("influx", "telegraf/server01/cpu", lines) for lines in LINES]
    for path in sorted(SAMPLES.glob("*.json")):
        content = json.loads(path.read_text())
        form = next((name for start, name in FAMILIES.items() if path.name.startswith(start)), "fields")
        topic = content["topic"] or "a/b"
        if form == "sparkplug":
            found.append(Sample(form, topic, sparkplug(content["payload"])))
        else:
            found.append(Sample(form, topic, content["payload_raw"].encode()))
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
        found.append(Sample("sparkplug", f"spBv1.0/plant/{verb}/edge{device}", payload.SerializeToString()))
    return found


def sparkplug(content: dict[str, Any]) -> bytes:
    """Return the specification's rendering of a payload as it is on the wire."""
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
    """A message that made something happen that must not."""

    where: str
    what: str
    topic: str
    payload: bytes

    def __str__(self) -> str:
        payload = self.payload if len(self.payload) <= 2_000 else self.payload[:2_000] + b"..."
        return f"{self.where}: {self.what}\n  topic {self.topic!r}\n  payload {payload!r}"


class Bench:
    """Readers of all formats and a decoder, and what they made of the messages so far."""

    def __init__(self, found: list[Sample], only: str | None) -> None:
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.escapes: list[Escape] = []
        self._options = TypeAdapter(Format)
        self._forms = [only] if only else [name for name in FORMATS if name != "fields"]
        self._registry = sensors_file.parse(registry_of(found))
        self.renew()

    def renew(self) -> None:
        """Take new readers and a new decoder."""
        self._readers: dict[str, list[Reader]] = {
            name: [self._options.validate_python({"name": name, **one}).reader() for one in OPTIONS.get(name, [{}])]
            for name in self._forms
        }
        self._series = count(1)
        ids = {(one.sensor_id, name): next(self._series) for one in self._registry.sensors for name in one.quantities}
        self._decoder = Decoder(self._registry, ids)

    def run(self, number: int, form: str, message: Message) -> None:
        """Have ``message`` read and decoded."""
        other = self._forms[number % len(self._forms)]
        for name in dict.fromkeys((form, other)):
            readers = self._readers.get(name)
            if readers:
                reader = readers[number % len(readers)]
                names = {"#": message.topic.partition("/")[2], "sensor": message.topic.partition("/")[0]}
                self._try(name, message, lambda reader=reader, names=names: self._measured(reader, message, names))
        self._try("decoder", message, lambda: self._decoded(message))

    def _try(self, name: str, message: Message, do: Callable[[], str]) -> None:
        tally = self.tallies[name]
        begun = time.process_time()
        try:
            outcome = do()
        except NoReadingError:
            outcome = "no reading"
        except UndecodableError as error:
            outcome = error.rejection.reason.value
            if error.rejection.reason is Reason.DEFECT:
                self._escaped(name, error.rejection.detail, message)
        except BaseException:  # noqa: BLE001 - what must not be
            outcome = "escaped"
            self._escaped(name, traceback.format_exc(limit=-3), message)
        took = time.process_time() - begun
        tally.outcomes[outcome] += 1
        if took > tally.slowest_seconds:
            tally.slowest_seconds = took
            if took > SLOW_SECONDS:
                self._escaped(name, f"{took:.1f} s", message)

    def _escaped(self, name: str, what: str, message: Message) -> None:
        self.escapes.append(Escape(name, what, message.topic, message.payload))
        if len(self.escapes) <= 20:
            print(self.escapes[-1], file=sys.stderr, flush=True)

    @staticmethod
    def _measured(reader: Reader, message: Message, names: dict[str, str]) -> str:
        found = reader.read(message, Topic(names))
        if not found:
            raise AssertionError("no measurement and no error")
        for quantity, value, instant, unit, device, problem in found:
            right = type(quantity) is str and type(value) in (int, float, bool, str) and type(device) is str
            if not right or type(instant) not in (int, type(None)) or type(unit) not in (str, type(None)):
                raise AssertionError(f"unsound: {quantity!r} {value!r} {instant!r} {unit!r} {device!r} {problem!r}")
        return "measured"

    def _decoded(self, message: Message) -> str:
        try:
            decoded = self._decoder.decode(message)
        except UnregisteredError as error:
            for registered, sensor, quantity in error.discoveries:  # as the database would
                registered.record(sensor, quantity, next(self._series))
            decoded = self._decoder.decode(message)
        for series_id, instant, value in decoded.readings:
            if type(series_id) is not int or type(instant) is not int or not -1e290 < value < 1e290:
                raise AssertionError(f"unsound: {series_id!r} {instant!r} {value!r}")
        return "read" if decoded.readings else "held back"


def registry_of(found: list[Sample]) -> bytes:
    """Return a registry with one sensor pattern per sample, with the quantities that its format finds in the sample."""
    options: TypeAdapter[Any] = TypeAdapter(Format)
    types: dict[str, Any] = {}
    entries: dict[str, dict[str, Any]] = {}
    for number, sample in enumerate(found):
        sources = {"humidity"}
        if sample.form != "fields":
            reader = options.validate_python(sample.form).reader()
            with suppress(NoReadingError, UndecodableError):
                found_here = reader.read(Message(sample.topic, sample.payload, ARRIVED), Topic({"#": sample.topic}))
                sources |= {quantity for quantity, *_ in found_here if quantity}
        named = {} if sample.form == "fields" else {"states": {"ON": 1}}
        quantities = {
            f"q{place}": {"unit": "Cel", "interval_seconds": 60, **named, **({"source": source} if named else {})}
            for place, source in enumerate(sorted(sources))
        }
        first, _, rest = sample.topic.partition("/")
        pattern = f"{first}/{{sensor}}/#" if rest and sample.form != "sparkplug" else f"{first}/#"
        if sample.form == "value":  # its topics say what is measured
            *before, last = rest.split("/")[1:] or ["state"]
            pattern = "/".join([first, "{sensor}", *("+" for _ in before), "{quantity}"])
            quantities["named"] = {"unit": "1", "interval_seconds": 60, "source": last, "states": {"ON": 1}}
        types[f"t{number}"] = {"format": sample.form, "quantities": quantities}
        about = {"type": f"t{number}", "site": "here", "area": "hall", "discover": True}
        # Samples of one family share their first level; the first of them gets its messages.
        entries.setdefault(pattern, {**about, "topic": pattern, "sensor_id": f"s{number}-{{device}}"})
    used = {one["type"] for one in entries.values()}
    kept = {name: one for name, one in types.items() if name in used}
    return orjson.dumps({"subscribe": ["#"], "types": kept, "sensors": list(entries.values())})


def forms_of(only: str | None, found: list[Sample]) -> Iterator[Sample]:
    """Yield samples in turn, for ever."""
    chosen = [one for one in found if only in (None, one.form)] or found
    while True:
        yield from chosen


def fuzz(messages: int, only: str | None, seed: int) -> tuple[Bench, float]:
    """Run ``messages`` of them; return what was found and the seconds it took."""
    found = samples()
    mutator, bench = Mutator(seed, found), Bench(found, only)
    units.conversion("[degF]", "Cel")  # loads the units library, which takes seconds once
    turns = forms_of(only, found)
    begun = time.monotonic()
    for number in range(messages):
        if number % AT_A_TIME == AT_A_TIME - 1:
            bench.renew()
            done = number + 1
            print(f"{done:,} messages, {done / (time.monotonic() - begun):,.0f}/s", file=sys.stderr, flush=True)
        sample = next(turns)
        bench.run(number, sample.form, mutator.message(sample, ARRIVED + number * 1000))
    return bench, time.monotonic() - begun


def keep(name: str, bench: Bench, messages: int, seconds: float, asked: argparse.Namespace) -> str:
    """Write down what came of ``messages`` under ``name``; return it as text."""
    result = {
        "about": {**machine(), "date": datetime.now(UTC).date().isoformat()},
        "messages": messages,
        "seed": asked.seed,
        "format": asked.format or "all",
        "seconds": round(seconds, 1),
        "escaped": len(bench.escapes),
        "slowest_milliseconds": round(1000 * max(one.slowest_seconds for one in bench.tallies.values()), 1),
        "outcomes": {name: dict(one.outcomes.most_common()) for name, one in sorted(bench.tallies.items())},
    }
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    return text


def main() -> int:
    """Fuzz, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--format", choices=FORMATS, help="only the samples and the readers of this format")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    bench, seconds = fuzz(asked.messages, asked.format, asked.seed)
    print(keep("fuzz", bench, asked.messages, seconds, asked))
    return 1 if bench.escapes else 0


if __name__ == "__main__":
    sys.exit(main())
