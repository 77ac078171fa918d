"""Benchmark: the HTTP interface under silent and slow connections; answers, and growth of the log.

    python bench/connections.py [--idle 2000] [--slow 200] [--seconds 60] [--edition timescaledb]

IDLE connections send nothing and SLOW ones a byte of a header per second; each that the server closes is opened again.
Meanwhile `/live` and a query are asked ten times per second, each over a new connection. Reported: the largest duration
of both, answers that were not 200, and the growth of the server's log. The exit status is 1 if an answer took more than
a second or failed, or if the log grew by more than 1 MB per minute. Everything stays on 127.0.0.1. Results:
bench/results/connections-EDITION.json.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rig import machine, start_rig

from local_services.access_server import LocalAccess

RESULTS = Path(__file__).parent / "results"
SLOWEST = 1.0
LARGEST_GROWTH = 1_000_000
"""Bytes of the log per minute."""


async def hold(port: int, header: bytes) -> None:
    """Keep one connection open, and send ``header`` again and again, a byte per second."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            end = asyncio.create_task(reader.read())
            for place in itertools.count():
                writer.write(header[place : place + 1] or header[-1:])
                done, _ = await asyncio.wait({end}, timeout=1)
                if done:
                    break
            writer.close()
        await asyncio.sleep(0.5)


def attack(port: int, idle: int, slow: int) -> None:
    """Hold all connections until the process ends."""

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(idle):
                group.create_task(hold(port, b""))
            for _ in range(slow):
                group.create_task(hold(port, b"GET / HTTP/1.1\r\nX-Slow: 1"))

    asyncio.run(run())


def ask(access: LocalAccess, path: str) -> tuple[int, float]:
    """Return the status (0: no answer) and the duration of one request."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", access.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {access.token}"})
        response = connection.getresponse()
        response.read()
        status = response.status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    return status, time.monotonic() - begun


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--edition", default="timescaledb")
    options = parser.parse_args()
    answers: dict[str, list[tuple[int, float]]] = {"/live": [], "/sensors?limit=10": []}
    with start_rig(options.edition) as rig, tempfile.TemporaryFile() as log_file:
        access = LocalAccess.prepare(rig.directory, rig.environment)
        program = str(Path(sys.executable).parent / "access")
        environment = {**rig.environment, **access.settings}
        with subprocess.Popen([program, "serve"], env=environment, cwd=rig.directory, stderr=log_file) as server:
            while not access.is_ready():
                time.sleep(0.2)
            arguments = (access.port, options.idle, options.slow)
            threading.Thread(target=attack, args=arguments, daemon=True).start()
            time.sleep(5)
            size, begun = log_file.seek(0, 2), time.monotonic()
            while time.monotonic() - begun < options.seconds:
                for path, durations in answers.items():
                    durations.append(ask(access, path))
                time.sleep(0.1)
            growth = (log_file.seek(0, 2) - size) / (time.monotonic() - begun) * 60
            server.terminate()
            server.wait(60)
    report = {
        "about": {**machine(), "measured": datetime.now(UTC).date().isoformat(), **vars(options)},
        "log_bytes_per_minute": round(growth),
        "answers": {
            path: {
                "number": len(durations),
                "failed": sum(status != 200 for status, _ in durations),
                "largest_seconds": round(max(seconds for _, seconds in durations), 3),
            }
            for path, durations in answers.items()
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"connections-{options.edition}.json").write_text(text + "\n")
    is_prompt = all(
        status == 200 and seconds <= SLOWEST for durations in answers.values() for status, seconds in durations
    )
    return 0 if is_prompt and growth <= LARGEST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
