"""Every payload format under a coverage-guided fuzzer, which keeps what takes a way through the code not taken before.

    .uv/bin/uv pip install atheris
    python bench/fuzz_guided.py [--messages 200000] [--format NAME] [--seed N]

Begins with the samples of bench/fuzz.py, asks of each message what that does, and stops at the first that breaks it:
the exit status is 1 then, and the message is shown. Results go to bench/results/fuzz-guided.json. atheris has wheels
for Linux; it is no dependency of the project.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

try:
    import atheris  # type: ignore[import-not-found]
except ImportError:
    sys.exit("atheris is not installed: .uv/bin/uv pip install atheris")

with atheris.instrument_imports(include=["collector"]):
    import fuzz

    from collector import units
    from collector.formats.supported import FORMATS
    from collector.message import Message

LARGEST = 4_096
"""Bytes of a payload."""


def main() -> None:
    """Fuzz until as many messages are through, or one breaks the rule; ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--format", choices=FORMATS, help="only the samples and the readers of this format")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = [one for one in fuzz.samples() if asked.format in {None, one.form}]
    bench = fuzz.Bench(found, asked.format)
    units.conversion("[degF]", "Cel")  # loads the units library, which takes seconds once
    corpus = tempfile.TemporaryDirectory()
    for place, sample in enumerate(found):
        (Path(corpus.name) / str(place)).write_bytes(bytes([place]) + sample.payload)
    begun, number = time.monotonic(), 0

    def end() -> None:
        seconds = time.monotonic() - begun
        fuzz.keep("fuzz-guided", bench, number, seconds, asked)
        print(f"{number:,} messages in {seconds:.0f} s, {len(bench.escapes)} escaped", flush=True)
        corpus.cleanup()
        os._exit(bool(bench.escapes))  # libFuzzer would go on

    def one(data: bytes) -> None:
        nonlocal number
        if not data:
            return
        sample = found[data[0] % len(found)]
        bench.run(number, sample.form, Message(sample.topic, data[1:], fuzz.ARRIVED + number * 1000))
        number += 1
        if bench.escapes or number >= asked.messages:
            end()
        if number % fuzz.AT_A_TIME == 0:
            bench.renew()
            print(f"{number:,} messages, {number / (time.monotonic() - begun):,.0f}/s", file=sys.stderr, flush=True)

    options = [f"-max_len={LARGEST}", f"-seed={asked.seed}", "-verbosity=0", "-detect_leaks=0"]
    atheris.Setup([sys.argv[0], *options, corpus.name], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
