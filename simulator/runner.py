"""Runs a plan: the past as fast as the broker takes it, then live readings as their time comes."""

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
from simulator.faults import Faults, Spec
from simulator.payloads import Form, Message, Sample
from simulator.publisher import Publisher
from simulator.settings import Settings

_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What is to be played. Lengths are in seconds; ``history`` 0 is none, ``duration`` infinite has no end."""

    players: list[schedule.Player]
    history: float = 0.0
    history_interval: float = 60.0
    duration: float = float("inf")
    batch: int = 1
    form: Form = "wide"
    faults: Spec = field(default_factory=Spec)
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """What was done: messages handed to the broker and acknowledged by it, and the tally of faults."""

    published: int
    acknowledged: int
    tally: Counter[str]


def run(plan: Plan, settings: Settings, stopped: Callable[[], bool]) -> Result:
    """Publish ``plan`` until it is done or ``stopped``.

    Raises :class:`BrokerError` where messages stay unacknowledged.
    """
    start = time.time()
    damage = Faults(plan.faults, plan.seed, start - plan.history)

    def stream(samples: Iterable[Sample]) -> Iterator[Message]:
        return damage.messages(schedule.messages(damage.samples(samples), plan.form, plan.batch))

    with Publisher(settings.mqtt, settings.simulator.window, say=_say) as publisher:
        if not publisher.connect(stopped):
            return Result(0, 0, damage.tally)
        if plan.history:
            begin = start - plan.history
            size = schedule.history_size(plan.players, begin, start, plan.history_interval)
            past = schedule.history(plan.players, begin, start, plan.history_interval)
            with _progress(size) as advance:
                _publish(stream(advance(sample for sample in past if not stopped())), publisher, stopped)
                publisher.drain()
        if plan.duration > 0 and not stopped():
            # Live begins where the past ended, so that what went by while we filled it is not missing.
            end = time.time() + plan.duration
            _publish(stream(_paced(schedule.live(plan.players, start, end), publisher, stopped)), publisher, stopped)
        publisher.drain(10.0 if stopped() else 60.0)
        result = Result(publisher.published, publisher.acknowledged, damage.tally)
    if publisher.waiting:
        raise BrokerError(
            f"{publisher.waiting} of {publisher.published} messages were not acknowledged: the broker went away. "
            "Start it, then run this again with --history to fill the gap."
        )
    return result


def _publish(stream: Iterable[Message], publisher: Publisher, stopped: Callable[[], bool]) -> None:
    for message in stream:
        if not publisher.publish(message.topic, message.payload, stopped):
            return


def _paced(samples: Iterable[Sample], publisher: Publisher, stopped: Callable[[], bool]) -> Iterator[Sample]:
    """Yield each sample when its time has come; end when ``stopped``."""
    line_at, line_count = time.monotonic() + _LINE_SECONDS, publisher.published
    for sample in samples:
        while (wait := sample.seconds - time.time()) > 0:
            if stopped():
                return
            publisher.idle(wait)
        if stopped():
            return
        yield sample
        if (now := time.monotonic()) >= line_at:
            rate = (publisher.published - line_count) / (now - line_at + _LINE_SECONDS)
            _say(
                f"published {publisher.published:,} messages, {rate:,.1f} a second; {publisher.waiting} to acknowledge"
            )
            line_at, line_count = now + _LINE_SECONDS, publisher.published


def _say(line: str) -> None:
    print(line, flush=True)


class _Rate(ProgressColumn):
    """Readings a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


@contextmanager
def _progress(size: int) -> Iterator[Callable[[Iterable[Sample]], Iterable[Sample]]]:
    """Give a function that shows how far an iteration over ``size`` samples is: a bar on a terminal, else lines."""
    if not sys.stdout.isatty():
        yield lambda samples: _lines(samples, size)
        return
    columns = (TextColumn("history"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console()) as progress:
        yield lambda samples: progress.track(samples, total=size)


def _lines(samples: Iterable[Sample], size: int) -> Iterator[Sample]:
    begin = line_at = time.monotonic()
    for number, sample in enumerate(samples, 1):
        yield sample
        now = time.monotonic()
        if now - line_at >= _LINE_SECONDS or number == size:
            line_at = now
            rate = number / max(now - begin, 1e-9)
            _say(f"history: {number:,} of {size:,} readings, {rate:,.0f} a second, {(size - number) / rate:.0f} s left")
