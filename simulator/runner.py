"""Runs a plan: publishes the past as fast as the broker accepts it, then live readings at their time."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from local_services.broker import BrokerError
from simulator import schedule
from simulator.faults import Faults, FaultSpec
from simulator.payloads import Form, Message, Sample
from simulator.publisher import Publisher
from simulator.settings import Settings

_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """Parameters of a run. Durations are in seconds; ``history`` 0: none; ``duration`` infinite: no end."""

    devices: list[schedule.Device]
    history: float = 0.0
    history_interval: float = 60.0
    duration: float = float("inf")
    batch: int = 1
    form: Form = "wide"
    faults: FaultSpec = field(default_factory=FaultSpec)
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """Numbers of published and acknowledged messages, and the tally of faults."""

    published: int
    acknowledged: int
    tally: Counter[str]


def run(plan: Plan, settings: Settings, stopped: Callable[[], bool]) -> Result:
    """Publish ``plan`` until its end or ``stopped``.

    Raises :class:`BrokerError` if messages remain unacknowledged.
    """
    start = time.time()
    injected = Faults(plan.faults, plan.seed, start - plan.history)

    def stream(samples: Iterable[Sample]) -> Iterator[Message]:
        return injected.messages(schedule.messages(injected.samples(samples), plan.form, plan.batch))

    with Publisher(settings.mqtt, settings.simulator.window, report=_print_line) as publisher:
        if not publisher.connect(stopped):
            return Result(0, 0, injected.tally)
        if plan.history:
            begin = start - plan.history
            size = schedule.history_size(plan.devices, begin, start, plan.history_interval)
            past = schedule.history(plan.devices, begin, start, plan.history_interval)
            with _progress(size) as advance:
                _publish(stream(advance(sample for sample in past if not stopped())), publisher, stopped)
                publisher.drain()
        if plan.duration > 0 and not stopped():
            # Live readings start at the end of the past, so that the time of publishing the past has no gap.
            end = time.time() + plan.duration
            _publish(stream(_paced(schedule.live(plan.devices, start, end), publisher, stopped)), publisher, stopped)
        publisher.drain(10.0 if stopped() else 60.0)
        result = Result(publisher.published, publisher.acknowledged, injected.tally)
    if publisher.unacknowledged:
        raise BrokerError(
            f"{publisher.unacknowledged} of {publisher.published} messages were not acknowledged: no broker. "
            "Start it, then run the simulator again with --history to fill the gap."
        )
    return result


def _publish(stream: Iterable[Message], publisher: Publisher, stopped: Callable[[], bool]) -> None:
    for message in stream:
        if not publisher.publish(message.topic, message.payload, stopped):
            return


def _paced(samples: Iterable[Sample], publisher: Publisher, stopped: Callable[[], bool]) -> Iterator[Sample]:
    """Yield each sample at its time; end when ``stopped``."""
    line_at, line_count = time.monotonic() + _LINE_SECONDS, publisher.published
    for sample in samples:
        while (wait := sample.seconds - time.time()) > 0:
            if stopped():
                return
            publisher.process_network(wait)
        if stopped():
            return
        yield sample
        if (now := time.monotonic()) >= line_at:
            rate = (publisher.published - line_count) / (now - line_at + _LINE_SECONDS)
            _print_line(
                f"published {publisher.published:,} messages, {rate:,.1f} per second; "
                f"{publisher.unacknowledged} unacknowledged"
            )
            line_at, line_count = now + _LINE_SECONDS, publisher.published


def _print_line(line: str) -> None:
    print(line, flush=True)


class _Rate(ProgressColumn):
    """Column with readings per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


@contextmanager
def _progress(size: int) -> Iterator[Callable[[Iterable[Sample]], Iterable[Sample]]]:
    """Yield a function that shows the progress over ``size`` samples: a bar on a terminal, else lines."""
    if not sys.stdout.isatty():
        yield lambda samples: _lines(samples, size)
        return
    columns = (TextColumn("history"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console()) as progress:
        yield lambda samples: progress.track(samples, total=size)


def _lines(samples: Iterable[Sample], size: int) -> Iterator[Sample]:
    start = line_at = time.monotonic()
    for number, sample in enumerate(samples, 1):
        yield sample
        now = time.monotonic()
        if now - line_at >= _LINE_SECONDS or number == size:
            line_at = now
            rate = number / max(now - start, 1e-9)
            _print_line(
                f"history: {number:,} of {size:,} readings, {rate:,.0f} per second, {(size - number) / rate:.0f} s left"
            )
