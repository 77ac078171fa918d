"""Coverage-guided fuzzer for every payload format: keeps the messages that reach new code.

    .uv/bin/uv pip install atheris
    python bench/fuzz_guided.py [--messages 200000] [--format NAME] [--seed N]

Starts with the samples of bench/fuzz.py, applies the same checks, and stops at the first failing message, which is
printed; the exit status is then 1. Results are written to bench/results/fuzz-guided.json. atheris has wheels for Linux;
it is not a dependency of the project.
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

MAX_BYTES = 4_096
"""Maximum size of a payload in bytes."""


def main() -> None:
    """Fuzz until the number of messages is reached or one fails; ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--format", choices=FORMATS, help="only the samples and the readers of this format")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    samples = [sample for sample in fuzz.samples() if options.format in {None, sample.format}]
    target = fuzz.FuzzTarget(samples, options.format)
    units.conversion("[degF]", "Cel")  # loads the units library, which takes seconds once
    corpus = tempfile.TemporaryDirectory()
    for index, sample in enumerate(samples):
        (Path(corpus.name) / str(index)).write_bytes(bytes([index]) + sample.payload)
    started, number = time.monotonic(), 0

    def end() -> None:
        seconds = time.monotonic() - started
        fuzz.record("fuzz-guided", target, number, seconds, options)
        print(f"{number:,} messages in {seconds:.0f} s, {len(target.escapes)} escaped", flush=True)
        corpus.cleanup()
        os._exit(bool(target.escapes))  # libFuzzer would continue

    def run_one(data: bytes) -> None:
        nonlocal number
        if not data:
            return
        sample = samples[data[0] % len(samples)]
        target.run(number, sample.format, Message(sample.topic, data[1:], fuzz.ARRIVED + number * 1000))
        number += 1
        if target.escapes or number >= options.messages:
            end()
        if number % fuzz.RENEW_AFTER == 0:
            target.renew()
            print(f"{number:,} messages, {number / (time.monotonic() - started):,.0f}/s", file=sys.stderr, flush=True)

    flags = [f"-max_len={MAX_BYTES}", f"-seed={options.seed}", "-verbosity=0", "-detect_leaks=0"]
    atheris.Setup([sys.argv[0], *flags, corpus.name], run_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
