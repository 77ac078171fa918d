"""The frame of a long-running command: source, sink, health endpoint, summary lines, signals and exit status."""

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import structlog

from collector.commands.metrics import Gauges, HealthEndpoint
from collector.commands.registry_watch import RegistryWatch
from collector.settings import CollectorSettings
from collector.sources.base import Sink, Source
from core.version import VERSION

log = structlog.get_logger()


class Program(ABC):
    """Passes messages from ``source`` to a sink until it is stopped; :meth:`run` blocks the calling thread.

    ``watch`` follows the registry. ``metrics`` and readiness are served on ``metrics_port``, whose setting is called
    ``port_setting``; None: they are not served.
    """

    name: ClassVar[str]
    """Prefix of the metrics of the source."""
    source_name: ClassVar[str] = "broker"
    incomplete: ClassVar[str]
    """Log line for an end at which not all messages were durable."""

    def __init__(
        self,
        settings: CollectorSettings,
        source: Source,
        watch: RegistryWatch,
        metrics: Gauges,
        metrics_port: int | None,
        port_setting: str,
    ) -> None:
        self.source = source
        self.watch = watch
        self.stopping = threading.Event()
        """Set once :meth:`stop` was called."""
        self._summary_seconds = settings.summary_seconds
        self._ended = threading.Event()
        metrics.add_source(self.name, lambda: source.connections, lambda: source.connected)
        if (arrival := source.arrival) is not None:
            metrics.add_arrival(self.name, lambda: arrival.is_known, lambda: arrival.uncertain_seconds)
        if (clock := source.clock) is not None:
            meaning = "How often this host's clock was set, or the host was suspended, for more than a second."
            metrics.gauge(f"{self.name}_clock_jumps", meaning, lambda: clock.jumps)
        self._endpoint = HealthEndpoint(metrics, self.waiting_for, settings.metrics_address, metrics_port, port_setting)

    @abstractmethod
    def prepare(self) -> Sink | None:
        """Return the sink, once all that it needs is there; None: :meth:`stop` was called before."""

    @abstractmethod
    def log_summary(self, seconds: float) -> None:
        """Log one line about the last ``seconds``."""

    @abstractmethod
    def sink_waits_for(self) -> list[str]:
        """Return the reasons why the sink is not ready; empty: it is."""

    def follow_registry(self) -> None:
        """Take over the topic filters of a changed registry. Called about once a second, in the summary's thread."""
        if self.watch.changed():
            self.source.topic_filters = self.watch.registry.subscribe

    def interrupt(self) -> None:  # noqa: B027 - an optional hook
        """Make :meth:`prepare` return soon. From any thread."""

    def finish(self) -> None:  # noqa: B027 - an optional hook
        """Complete the work after the end of the sink, before the last summary."""

    def release(self) -> None:  # noqa: B027 - an optional hook
        """Release resources after the last summary."""

    def waiting_for(self) -> list[str]:
        """Return the reasons why the program is not ready; empty: it is."""
        reasons = self.sink_waits_for()
        if not self.source.connected:
            reasons.append(f"not connected to the {self.source_name}")
        return reasons

    def stop(self) -> None:
        """Make :meth:`run` return in an orderly way; from any thread, not from a signal handler."""
        self.stopping.set()
        self.source.stop()
        self.interrupt()

    def run(self) -> bool:
        """Run until :meth:`stop`; return whether all messages read are durable and acknowledged."""
        with self._endpoint:
            sink = self.prepare()
            if sink is None:
                return True
            summary = threading.Thread(target=self._summarise, name="summary", daemon=True)
            summary.start()
            try:
                return self.source.run(sink)
            finally:
                sink.stop(0)
                self.finish()
                self._ended.set()
                summary.join()
                self.release()

    def _summarise(self) -> None:
        """Log one line per period, and one at the end; follow the registry meanwhile."""
        begun = time.monotonic()
        ended = False
        while not ended:
            ended = self._ended.wait(min(1.0, max(begun + self._summary_seconds - time.monotonic(), 0)))
            self.follow_registry()
            now = time.monotonic()
            if ended or now >= begun + self._summary_seconds:
                self.log_summary(max(now - begun, 0.001))
                begun = now


def run_until_signal(program: Program) -> int:
    """Run until SIGTERM or SIGINT; return the exit status.

    0: all messages read are durable and acknowledged. 1: they are not; those that are not durable were not
    acknowledged either, and the broker keeps them.
    """
    log.info("starting", program=program.name, version=VERSION)
    _on_signal(program.stop)
    if program.run():
        return 0
    log.error(program.incomplete)
    return 1


def _on_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` in a new thread on SIGTERM and SIGINT.

    A signal handler runs between two steps of the main thread, which may hold the lock that stopping needs.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=stop, daemon=True).start())
