"""Benchmark: acknowledged messages that a broker loses when it is killed, and the cost of an hour's queue.

    python bench/broker_kill.py [--mosquitto PATH ...] [--kills 30] [--rate 1000] [--queue 300000] [--only NAME ...]

Each kill: ten devices publish RATE messages per second at QoS 1 over separate connections; after a random time the
broker gets SIGKILL, within two milliseconds after it started to acknowledge a burst of all of them. A message counts as
acknowledged if its device received a PUBACK, including bytes still in its socket. The broker is started again, and each
subscriber receives everything in its session. *Lost*: acknowledged and never received; *again*: received twice (the
collector counts such messages as duplicates and stores them once).

away      the session exists, but its subscriber is disconnected until the broker is back
present   one subscriber receives and acknowledges all the time
shared    two subscribers of one shared subscription do (not with nats)

Queue: QUEUE messages while the subscriber is disconnected; memory and files of the broker, its restart after SIGKILL,
and the delivery. ``--mosquitto`` names programs in addition to the one on PATH. Everything stays on 127.0.0.1. Results
are written to bench/results/broker_kill.json and printed.
"""

import argparse
import json
import os
import random
import select
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

from mqtt_socket import Connection, packet, text
from rig import machine

from local_services.broker import BrokerSettings, LocalBroker, executable, sqlite_plugin

RESULTS = Path(__file__).parent / "results"
DEVICES = 10
ACK_WAIT = 2
_HOUR = 3600


class Device:
    """Publishes numbers and records which of them were acknowledged."""

    def __init__(self, broker: LocalBroker, name: int) -> None:
        self.name = name
        self.connection = Connection(broker, f"device-{name}", clean=True)
        self.acknowledged: set[int] = set()
        self.unacknowledged: dict[int, int] = {}
        self._identifier = 0

    def publish(self, *numbers: int) -> None:
        """Send one message for each number."""
        data = b""
        for number in numbers:
            self._identifier = self._identifier % 65_535 + 1
            self.unacknowledged[self._identifier] = number
            payload = (
                f'{{"device_id":"t{self.name}","timestamp":"2026-11-22T12:00:00.{number % 1000:03}Z",'
                f'"temperature":{15 + number % 1000 / 100},"tag":"Thermometer","n":{number}}}'
            )
            topic = f"sensors/athens/hall-{self.name}/thermostat-{self.name}"
            data += packet(0x32, text(topic) + self._identifier.to_bytes(2) + payload.encode())
        self.connection.send(data)

    def receive(self) -> None:
        """Read the available acknowledgements."""
        for command, body in self.connection.packets(0):
            if command == 0x40:
                self.acknowledged.add(self.unacknowledged.pop(int.from_bytes(body)))


class Reader:
    """A durable session that acknowledges everything it receives."""

    def __init__(self, broker: LocalBroker, name: str) -> None:
        self.connection: Connection
        self._broker, self.name = broker, name
        self.received: Counter[int] = Counter()

    def connect(self, topic: str | None = None) -> None:
        """Connect; subscribe if ``topic`` is given."""
        self.connection = Connection(self._broker, self.name, clean=False)
        if topic:
            self.connection.subscribe(topic)

    def receive(self, seconds: float = 0) -> int:
        """Read and acknowledge the available messages; return their number."""
        acks = []
        for command, body in self.connection.packets(seconds):
            if command & 0xF0 == 0x30:
                end = 2 + int.from_bytes(body[:2])
                number = int(body[body.rindex(b'"n":') + 4 : -1])
                self.received[number] += 1
                acks.append(body[end : end + 2])
        if acks:
            self.connection.send(b"".join(struct.pack(">H", 0x4002) + ack for ack in acks))
        return len(acks)

    def receive_rest(self, quiet: float) -> None:
        """Read until nothing has arrived for ``quiet`` seconds."""
        last = time.monotonic()
        while time.monotonic() - last < quiet:
            if self.receive(0.1):
                last = time.monotonic()


def send(devices: list[Device], readers: list[Reader], rate: int, seconds: float) -> int:
    """Publish ``rate`` numbers per second, round-robin over ``devices``; return their number."""
    started = time.monotonic()
    number = 0
    clients: list[Device | Reader] = [*devices, *readers]
    while (passed := time.monotonic() - started) < seconds:
        while number < int(passed * rate):
            devices[number % DEVICES].publish(number)
            number += 1
        sockets = [client.connection for client in clients]
        pause = (number + 1) / rate - (time.monotonic() - started)
        ready = select.select(sockets, [], [], max(0.0, pause))[0]
        for client in clients:
            if client.connection in ready:
                client.receive()
    return number


def kill_once(broker: LocalBroker, scenario: str, rate: int, random_source: random.Random) -> dict[str, int]:
    """Kill ``broker`` once under load; return the counts of acknowledged, lost and repeated messages."""
    names = [f"{scenario}-{n}-{random_source.getrandbits(64)}" for n in range(2 if scenario == "shared" else 1)]
    readers = [Reader(broker, name) for name in names]
    for reader in readers:
        reader.connect("$share/group/sensors/#" if scenario == "shared" else "sensors/#")
        if scenario == "away":
            reader.connection.close()
    present = [] if scenario == "away" else readers
    devices = [Device(broker, n) for n in range(DEVICES)]
    clients: list[Device | Reader] = [*devices, *present]
    number = send(devices, present, rate, 0.5 + random_source.random())
    # The kill is close to an acknowledgement: at the first one for a burst of all devices, or just after it.
    while any(device.unacknowledged for device in devices):
        for client in clients:
            client.receive()
    for device in devices:
        device.publish(*range(number + device.name * 5, number + device.name * 5 + 5))
    select.select([device.connection for device in devices], [], [], 10)
    time.sleep(max(0.0, random_source.uniform(-0.002, 0.002)))
    broker.kill()
    for client in clients:
        while not client.connection.ended():
            client.receive()
    broker.start()
    for reader in readers:
        reader.connect()
        reader.receive_rest(ACK_WAIT * 2 if broker.kind == "nats" else 0.5)
        reader.connection.close()
        Connection(
            broker, reader.name, clean=True
        ).close()  # ends the session, for which the broker would otherwise keep queueing
    acknowledged = set().union(*(device.acknowledged for device in devices))
    received: Counter[int] = Counter()
    for reader in readers:
        received.update(reader.received)
    return {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - received.keys()),
        "again": received.total() - len(received),
    }


def queue_and_restart(broker: LocalBroker, count: int) -> dict[str, Any]:
    """Queue ``count`` messages for a disconnected session, kill the broker, and receive them."""
    reader = Reader(broker, "hour")
    reader.connect("sensors/#")
    reader.connection.close()
    empty = _memory(broker)
    devices = [Device(broker, n) for n in range(DEVICES)]
    started, cpu = time.monotonic(), _cpu(broker)
    number = 0
    while number < count:
        for device in devices:
            if len(device.unacknowledged) < 500:
                device.publish(*range(number, number + 100))
                number += 100
        for device in devices:
            device.receive()
    while any(device.unacknowledged for device in devices):
        for device in devices:
            device.receive()
    seconds, cpu = time.monotonic() - started, _cpu(broker) - cpu
    result: dict[str, Any] = {
        "messages": number,
        "published_a_second": round(number / seconds),
        "broker_cpu_us_a_message": round(cpu / number * 1e6, 1),
        "memory_bytes_a_message": round((_memory(broker) - empty) / number),
    }
    if broker.kind == "mosquitto" and broker.settings.persistence == "snapshot":
        time.sleep(broker.settings.autosave_seconds + 5)
    result["file_bytes_a_message"] = round(_files(broker) / number)
    broker.kill()
    started = time.monotonic()
    broker.start(timeout=120)
    result["restart_seconds"] = round(time.monotonic() - started, 2)
    reader.connect()
    started = time.monotonic()
    reader.receive_rest(5)
    result["taken_a_second"] = round(len(reader.received) / (time.monotonic() - started - 5))
    result["lost"] = number - len(reader.received)
    result["hour_at_1000"] = {
        "memory_gigabytes": round(result["memory_bytes_a_message"] * 1000 * _HOUR / 1e9, 1),
        "disk_gigabytes": round(result["file_bytes_a_message"] * 1000 * _HOUR / 1e9, 1),
        "restart_seconds": round(result["restart_seconds"] * 1000 * _HOUR / number),
    }
    return result


def _memory(broker: LocalBroker) -> int:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def _cpu(broker: LocalBroker) -> float:
    fields = Path(f"/proc/{broker.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _files(broker: LocalBroker) -> int:
    return sum(path.stat().st_size for path in broker.directory.rglob("*") if path.is_file())


@contextmanager
def temporary_broker(path: str, kind: Any, settings: BrokerSettings) -> Iterator[LocalBroker]:
    """Run a broker in a temporary directory, with ``path`` first on PATH."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{path}:{before}" if path else before
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            LocalBroker(Path(directory) / "b", kind, None, settings) as broker,
        ):
            yield broker
    finally:
        os.environ["PATH"] = before


def version(program: Path) -> str:
    """Return name and version of ``program``."""
    flag = "-h" if program.name == "mosquitto" else "-v"
    output = subprocess.run([program, flag], check=False, capture_output=True, text=True).stdout.splitlines()[0]
    return output.replace(" version", "").replace(": v", " ")


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
    installed = executable("mosquitto")
    programs = dict.fromkeys([*options.mosquitto, *([installed] if installed else [])])
    report: dict[str, Any] = {"measured": datetime.now(UTC).date().isoformat(), **machine(), "rate": options.rate}
    report["brokers"] = {}
    for name, path, kind, settings in candidates(list(programs)):
        if options.only and not any(word in name for word in options.only):
            continue
        results: dict[str, Any] = report["brokers"].setdefault(name, {})
        random_source = random.Random(7)
        for scenario in ("away", "present", *(["shared"] if kind == "mosquitto" else [])):
            if not options.kills:
                break
            with temporary_broker(path, kind, settings) as broker:
                kills = [kill_once(broker, scenario, options.rate, random_source) for _ in range(options.kills)]
            results[scenario] = {
                "kills": len(kills),
                "acknowledged": sum(kill["acknowledged"] for kill in kills),
                "lost": sum(kill["lost"] for kill in kills),
                "kills_that_lost": sum(kill["lost"] > 0 for kill in kills),
                "most_lost_by_one_kill": max(kill["lost"] for kill in kills),
                "again": round(statistics.mean(kill["again"] for kill in kills), 1),
            }
            print(name, scenario, results[scenario], file=sys.stderr, flush=True)
        if options.queue and settings.persistence != "changes":  # which would write the whole queue for every message
            with temporary_broker(path, kind, settings) as broker:
                results["queue"] = queue_and_restart(broker, options.queue)
            print(name, results["queue"], file=sys.stderr, flush=True)
    print(json.dumps(report, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "broker_kill.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
