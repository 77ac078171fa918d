"""What a broker keeps of what it acknowledged when it is killed, and what an hour's queue costs it.

    python bench/broker_kill.py [--mosquitto PATH ...] [--kills 30] [--rate 1000] [--queue 300000] [--only NAME ...]

Each kill: ten devices publish RATE messages a second at QoS 1 over connections of their own; after a random time the
broker gets SIGKILL, within two milliseconds after it began to acknowledge a burst of all of them. What counts is what
the devices got a PUBACK for, to the last byte in their sockets. The broker is started again, and whoever subscribes
takes all that its session has. *Lost* is what was acknowledged and never came, *again* what came twice (the collector
counts such messages as duplicates and stores them once).

away      the session was there before and nobody reads it until the broker is back
present   one subscriber reads and acknowledges all the time
shared    two subscribers of one shared subscription do (not with nats)

Queue: QUEUE messages while the subscriber is away; the broker's memory and files, its restart after SIGKILL, and
what comes then. ``--mosquitto`` names further programs, beside the one on PATH. Everything stays on 127.0.0.1. Results
go to bench/results/broker_kill.json and to the terminal.
"""

import argparse
import json
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import machine

from local_services.broker import HOST, BrokerSettings, LocalBroker, executable, sqlite_plugin

RESULTS = Path(__file__).parent / "results"
DEVICES = 10
ACK_WAIT = 2
_HOUR = 3600


class Line:
    """One MQTT 3.1.1 connection over a plain socket, which reads to the last byte what a dead broker had sent."""

    def __init__(self, broker: LocalBroker, client_id: str, *, clean: bool) -> None:
        assert broker.port is not None
        self._socket = socket.create_connection((HOST, broker.port), timeout=10)
        self._buffer = b""
        body = _text("MQTT") + bytes([4, 0xC0 | (2 if clean else 0)]) + (0).to_bytes(2)
        self.send(_packet(0x10, body + _text(client_id) + _text(broker.username) + _text(broker.password)))
        command, _ = next(iter(self.packets(10)))
        assert command == 0x20, command
        self._socket.settimeout(None)

    def fileno(self) -> int:
        """Return the socket's."""
        return self._socket.fileno()

    def send(self, data: bytes) -> bool:
        """Send all of ``data``; return False where the broker is gone."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 1, and return once that is granted."""
        self.send(_packet(0x82, b"\0\1" + _text(topic) + b"\1"))
        end = time.monotonic() + 30
        while not any(command == 0x90 for command, _ in self.packets(1)):
            assert time.monotonic() < end, "no answer to a subscription"

    def packets(self, seconds: float) -> Iterator[tuple[int, bytes]]:
        """Yield (command, body) of what there is; wait for the first byte, ``seconds`` at most."""
        if select.select([self._socket], [], [], seconds)[0]:
            try:
                self._buffer += self._socket.recv(1 << 20)
            except OSError:
                return
        position = 0
        while len(self._buffer) - position >= 2:
            length, shift, body = 0, 0, position + 1
            while body < len(self._buffer):
                byte = self._buffer[body]
                length |= (byte & 127) << shift
                shift, body = shift + 7, body + 1
                if byte < 128:
                    break
            else:
                break
            if body + length > len(self._buffer):
                break
            yield self._buffer[position], self._buffer[body : body + length]
            position = body + length
        self._buffer = self._buffer[position:]

    def ended(self) -> bool:
        """Return whether the other side has closed and nothing is left to read."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Say goodbye, without ending the session."""
        self.send(b"\xe0\0")
        self._socket.close()


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2) + data


def _packet(command: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (128 if rest else 0)])
        if not rest:
            return bytes([command]) + length + body


class Device:
    """Publishes numbers and knows which of them were acknowledged."""

    def __init__(self, broker: LocalBroker, name: int) -> None:
        self.name = name
        self.line = Line(broker, f"device-{name}", clean=True)
        self.acknowledged: set[int] = set()
        self.waiting: dict[int, int] = {}
        self._identifier = 0

    def publish(self, *numbers: int) -> None:
        """Send one message for each number."""
        data = b""
        for number in numbers:
            self._identifier = self._identifier % 65_535 + 1
            self.waiting[self._identifier] = number
            payload = (
                f'{{"device_id":"t{self.name}","timestamp":"2026-11-22T12:00:00.{number % 1000:03}Z",'
                f'"temperature":{15 + number % 1000 / 100},"tag":"Thermometer","n":{number}}}'
            )
            topic = f"sensors/athens/hall-{self.name}/thermostat-{self.name}"
            data += _packet(0x32, _text(topic) + self._identifier.to_bytes(2) + payload.encode())
        self.line.send(data)

    def take(self) -> None:
        """Read the acknowledgements that there are."""
        for command, body in self.line.packets(0):
            if command == 0x40:
                self.acknowledged.add(self.waiting.pop(int.from_bytes(body)))


class Reader:
    """A durable session that acknowledges all it gets."""

    def __init__(self, broker: LocalBroker, name: str) -> None:
        self.line: Line
        self._broker, self.name = broker, name
        self.got: Counter[int] = Counter()

    def connect(self, topic: str | None = None) -> None:
        """Connect; subscribe where ``topic`` is given."""
        self.line = Line(self._broker, self.name, clean=False)
        if topic:
            self.line.subscribe(topic)

    def take(self, seconds: float = 0) -> int:
        """Read what there is, acknowledge it, return how many messages it was."""
        acks = []
        for command, body in self.line.packets(seconds):
            if command & 0xF0 == 0x30:
                end = 2 + int.from_bytes(body[:2])
                number = int(body[body.rindex(b'"n":') + 4 : -1])
                self.got[number] += 1
                acks.append(body[end : end + 2])
        if acks:
            self.line.send(b"".join(struct.pack(">H", 0x4002) + ack for ack in acks))
        return len(acks)

    def take_rest(self, quiet: float) -> None:
        """Read until nothing has come for ``quiet`` seconds."""
        last = time.monotonic()
        while time.monotonic() - last < quiet:
            if self.take(0.1):
                last = time.monotonic()


def send(devices: list[Device], readers: list[Reader], rate: int, seconds: float) -> int:
    """Have ``devices`` publish ``rate`` numbers a second in turn, and ``readers`` read; return how many they were."""
    begun = time.monotonic()
    number = 0
    everyone: list[Device | Reader] = [*devices, *readers]
    while (passed := time.monotonic() - begun) < seconds:
        while number < int(passed * rate):
            devices[number % DEVICES].publish(number)
            number += 1
        sockets = [one.line for one in everyone]
        pause = (number + 1) / rate - (time.monotonic() - begun)
        ready = select.select(sockets, [], [], max(0.0, pause))[0]
        for one in everyone:
            if one.line in ready:
                one.take()
    return number


def one_kill(broker: LocalBroker, scenario: str, rate: int, chance: random.Random) -> dict[str, int]:
    """Kill ``broker`` once under load; return what became of the messages."""
    names = [f"{scenario}-{n}-{chance.getrandbits(64)}" for n in range(2 if scenario == "shared" else 1)]
    readers = [Reader(broker, name) for name in names]
    for reader in readers:
        reader.connect("$share/group/sensors/#" if scenario == "shared" else "sensors/#")
        if scenario == "away":
            reader.line.close()
    present = [] if scenario == "away" else readers
    devices = [Device(broker, n) for n in range(DEVICES)]
    everyone: list[Device | Reader] = [*devices, *present]
    number = send(devices, present, rate, 0.5 + chance.random())
    # The kill falls as near to an acknowledgement as can be: at the first for a burst of all devices, or just after it.
    while any(device.waiting for device in devices):
        for one in everyone:
            one.take()
    for device in devices:
        device.publish(*range(number + device.name * 5, number + device.name * 5 + 5))
    select.select([device.line for device in devices], [], [], 10)
    time.sleep(max(0.0, chance.uniform(-0.002, 0.002)))
    broker.kill()
    for one in everyone:
        while not one.line.ended():
            one.take()
    broker.start()
    for reader in readers:
        reader.connect()
        reader.take_rest(ACK_WAIT * 2 if broker.kind == "nats" else 0.5)
        reader.line.close()
        Line(broker, reader.name, clean=True).close()  # or the broker would go on queueing for it
    acknowledged = set().union(*(device.acknowledged for device in devices))
    got: Counter[int] = Counter()
    for reader in readers:
        got.update(reader.got)
    return {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - got.keys()),
        "again": got.total() - len(got),
    }


def hour(broker: LocalBroker, count: int) -> dict[str, Any]:
    """Queue ``count`` messages for a session that is away, kill the broker, and take them."""
    reader = Reader(broker, "hour")
    reader.connect("sensors/#")
    reader.line.close()
    empty = _memory(broker)
    devices = [Device(broker, n) for n in range(DEVICES)]
    begun, cpu = time.monotonic(), _cpu(broker)
    number = 0
    while number < count:
        for device in devices:
            if len(device.waiting) < 500:
                device.publish(*range(number, number + 100))
                number += 100
        for device in devices:
            device.take()
    while any(device.waiting for device in devices):
        for device in devices:
            device.take()
    seconds, cpu = time.monotonic() - begun, _cpu(broker) - cpu
    found: dict[str, Any] = {
        "messages": number,
        "published_a_second": round(number / seconds),
        "broker_cpu_us_a_message": round(cpu / number * 1e6, 1),
        "memory_bytes_a_message": round((_memory(broker) - empty) / number),
    }
    if broker.kind == "mosquitto" and broker.settings.persistence == "snapshot":
        time.sleep(broker.settings.autosave_seconds + 5)
    found["file_bytes_a_message"] = round(_files(broker) / number)
    broker.kill()
    begun = time.monotonic()
    broker.start(timeout=120)
    found["restart_seconds"] = round(time.monotonic() - begun, 2)
    reader.connect()
    begun = time.monotonic()
    reader.take_rest(5)
    found["taken_a_second"] = round(len(reader.got) / (time.monotonic() - begun - 5))
    found["lost"] = number - len(reader.got)
    found["hour_at_1000"] = {
        "memory_gigabytes": round(found["memory_bytes_a_message"] * 1000 * _HOUR / 1e9, 1),
        "disk_gigabytes": round(found["file_bytes_a_message"] * 1000 * _HOUR / 1e9, 1),
        "restart_seconds": round(found["restart_seconds"] * 1000 * _HOUR / number),
    }
    return found


def _memory(broker: LocalBroker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def _cpu(broker: LocalBroker) -> float:
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _files(broker: LocalBroker) -> int:
    return sum(path.stat().st_size for path in broker.directory.rglob("*") if path.is_file())


@contextmanager
def fresh(path: str, kind: Any, settings: BrokerSettings) -> Iterator[LocalBroker]:
    """Run a broker in a directory of its own, with ``path`` first on PATH."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:{before}" if path else before
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            LocalBroker(Path(directory) / "b", kind, None, settings) as one,
        ):
            yield one
    finally:
        os.environ["PATH"] = before


def version(program: Path) -> str:
    """Return what ``program`` says that it is."""
    flag = "-h" if program.name == "mosquitto" else "-v"
    said = subprocess.run([program, flag], check=False, capture_output=True, text=True).stdout.splitlines()[0]
    return said.replace(" version", "").replace(": v", " ")


def candidates(programs: list[Path]) -> Iterator[tuple[str, str, Any, BrokerSettings]]:
    """Yield (name, directory of the program, kind, settings)."""
    for program in programs:
        name = version(program)
        if sqlite_plugin(program):
            for flush in (0, 5):
                settings = BrokerSettings(persistence="sqlite", flush_seconds=flush)
                yield f"{name}, SQLite, flush_period {flush}", str(program.parent), "mosquitto", settings
        else:
            for persistence in ("snapshot", "changes"):
                label = "snapshot each second" if persistence == "snapshot" else "autosave_on_changes"
                settings = BrokerSettings(persistence=persistence)
                yield f"{name}, {label}", str(program.parent), "mosquitto", settings
    if nats := executable("nats"):
        yield version(nats), "", "nats", BrokerSettings(ack_wait_seconds=ACK_WAIT)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mosquitto", type=Path, nargs="*", default=[])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--queue", type=int, default=300_000)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    here = executable("mosquitto")
    programs = dict.fromkeys([*options.mosquitto, *([here] if here else [])])
    found: dict[str, Any] = {"measured": datetime.now(UTC).date().isoformat(), **machine(), "rate": options.rate}
    found["brokers"] = {}
    for name, path, kind, settings in candidates(list(programs)):
        if options.only and not any(word in name for word in options.only):
            continue
        results: dict[str, Any] = found["brokers"].setdefault(name, {})
        chance = random.Random(7)
        for scenario in ("away", "present", *(["shared"] if kind == "mosquitto" else [])):
            if not options.kills:
                break
            with fresh(path, kind, settings) as broker:
                kills = [one_kill(broker, scenario, options.rate, chance) for _ in range(options.kills)]
            results[scenario] = {
                "kills": len(kills),
                "acknowledged": sum(kill["acknowledged"] for kill in kills),
                "lost": sum(kill["lost"] for kill in kills),
                "kills_that_lost": sum(kill["lost"] > 0 for kill in kills),
                "most_lost_by_one_kill": max(kill["lost"] for kill in kills),
                "again": round(statistics.mean(kill["again"] for kill in kills), 1),
            }
            print(name, scenario, results[scenario], file=sys.stderr, flush=True)
        if options.queue and settings.persistence != "changes":  # which would write all of it for every message
            with fresh(path, kind, settings) as broker:
                results["queue"] = hour(broker, options.queue)
            print(name, results["queue"], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "broker_kill.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
