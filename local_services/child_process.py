"""Child processes: start, check, wait, stop."""

import contextlib
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import WarehouseError
from local_services import processes


class ChildError(WarehouseError):
    """A child process has ended unexpectedly or failed."""


class StoppedError(Exception):
    """A stop was requested during a wait."""


class Child:
    """A program in its own session, with its output in ``log``; ``program`` is next to Python, by default ``name``."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        program: str | None = None,
    ) -> None:
        self.name = name
        self._log = log
        # Not in the present directory: a .env there is for the real warehouse.
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [installed_program(program or name), *arguments],
                env=dict(environment), cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def check(self) -> None:
        """Raise :class:`ChildError` with the end of its log if it has ended."""
        status = self._process.poll()
        if status is not None:
            raise ChildError(f"{self.name} ended with status {status}. The end of {self._log}:\n{self._tail()}")

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Wait until it ends; raises :class:`ChildError` with the end of its log if its status is not 0."""
        while self._process.poll() is None:
            if stopped():
                self.stop()
                raise StoppedError
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
        if self._process.returncode:
            self.check()

    def stop(self, timeout: float = 30.0) -> int:
        """Stop it and all processes of its session, by SIGKILL after ``timeout`` seconds; return its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        # Its children may have their own process groups, but they are in its session.
        while members := processes.session_members(self._process.pid):
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        return self._process.wait()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-15:]
        return "\n".join(f"  {line}" for line in lines) or "  (empty)"


def installed_program(name: str) -> str:
    """Return the path of a program that is installed next to this Python."""
    return str(Path(sysconfig.get_path("scripts")) / name)
