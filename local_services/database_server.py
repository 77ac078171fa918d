"""A local PostgreSQL server: own data directory, on 127.0.0.1, generated password."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import psycopg

from core.errors import DatabaseError, SettingError
from local_services import processes
from local_services.postgres_binaries import Binaries, Choice, Edition, built_with, find_binaries
from local_services.unix_account import unix_account

__all__ = ["Binaries", "LocalServer", "find_binaries"]

DEFAULT_DATA = Path(".local/postgres")
DEFAULT_PORT = 5432
DATABASE = "warehouse"
_USER = "postgres"
_PASSWORD_FILE = "warehouse-password"  # noqa: S105 - a file's name
_EDITION_FILE = "warehouse-edition"
_START_LOG = "start.log"
_STOP_SECONDS = 60.0
_START_SECONDS = 600.0
"""Long, because recovery after a crash replays up to max_wal_size, which takes minutes on a slow disk."""

_FAILURE_WORDS = ("FATAL", "PANIC", "ERROR", "could not")
"""Words in log lines with the reason for the end of a server."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",  # for plans over many chunks compiling costs more than it saves
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",  # overwritten after a week
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
}
_TIMESCALEDB_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "27",  # launcher, a scheduler per database, 16 jobs, parallel queries
}


class LocalServer:
    """A PostgreSQL server that this process starts and stops.

    ``data`` is the preferred data directory (see :meth:`~local_services.unix_account.Account.reachable_directory`),
    ``port`` the TCP port: None means 5432 or, if that is taken, a free one; 0 means any free one. ``settings`` override
    the default settings of the server (``-c``).
    """

    def __init__(
        self,
        data: Path = DEFAULT_DATA,
        edition: Choice = "auto",
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._account = unix_account()
        self.data = self._account.reachable_directory(data)
        self.binaries = self._choose_binaries(edition)
        self._bin_dir = self._account.reachable_programs(self.binaries.bin_dir)
        self._requested_port = port
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._launch_time = 0.0
        self.port = 0
        """The TCP port, after the start."""

    @property
    def edition(self) -> Edition:
        """The edition of new databases on this server."""
        return self.binaries.edition

    def environment(self) -> dict[str, str]:
        """Return libpq's variables for the database ``warehouse`` of this server."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": _USER,
            "PGPASSWORD": (self.data / _PASSWORD_FILE).read_text(encoding="utf-8").strip(),
            "PGDATABASE": DATABASE,
        }

    def start(self) -> None:
        """Start the server and return when it answers; create data directory and database if they don't exist."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self._check_not_running()
        for attempt in range(5):
            self.port = self._choose_port()
            try:
                self._launch()
                break
            except _PortTakenError:
                # Taken after the check; an error only if the port was requested by number.
                if self._requested_port or attempt == 4:  # noqa: PLR2004
                    raise
        self._create_database()

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, committed data is on disk."""
        if self._process is None:
            return
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovery at the next start).
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            try:
                self._process.wait(_STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def kill(self) -> None:
        """Kill the server and all its children, as a power failure would (for tests of crashes)."""
        if self._process is None:
            return
        # Stopped first, so that it starts no child after they are listed.
        self._process.send_signal(signal.SIGSTOP)
        children = processes.children(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        while any(
            processes.is_running(pid) for pid in children
        ):  # init collects them; the next start must not meet them
            time.sleep(0.005)

    def has_ended(self, wait_seconds: float) -> bool:
        """Return whether the server has ended, after waiting up to ``wait_seconds`` for that."""
        if self._process is None:
            return True
        try:
            self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def failure_lines(self) -> str:
        """Return the last lines of the server's log with the reason of a failure."""
        # Errors before the logging process runs, such as a wrong setting, are in start.log.
        logs = [self.data / _START_LOG, *sorted((self.data / "log").glob("*"), key=lambda path: path.stat().st_mtime)]
        recent = [path for path in logs if path.exists() and path.stat().st_mtime >= self._launch_time]
        lines = [line for path in recent for line in path.read_text("utf-8", "replace").splitlines()[-30:]]
        failures = [line for line in lines if any(word in line for word in _FAILURE_WORDS)]
        return "\n".join((failures or lines)[-5:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _choose_binaries(self, edition: Choice) -> Binaries:
        """Return the binaries for a new data directory, or those that an existing one needs."""
        if edition not in get_args(Choice):
            raise SettingError(f"no edition {edition!r}; choose one of {', '.join(get_args(Choice))}.")
        try:
            major = int((self.data / "PG_VERSION").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return find_binaries(edition)
        try:
            made_by = (self.data / _EDITION_FILE).read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise SettingError(
                f"{self.data} has data of PostgreSQL {major} that `timescale serve` did not create. Choose another "
                "directory with --data, or start that server with its own tools and set PGHOST and the other variables."
            ) from error
        if edition not in {"auto", made_by}:
            raise SettingError(
                f"{self.data} has a database of edition {made_by}, not {edition}. "
                f"Omit --edition, or choose another directory with --data."
            )
        binaries = find_binaries("timescaledb" if made_by == "timescaledb" else "postgresql")
        if binaries.major != major:
            raise SettingError(
                f"{self.data} was created by PostgreSQL {major}, but {binaries} is installed. Install PostgreSQL "
                f"{major} again, or use another directory with --data, or migrate the data with pg_upgrade or with "
                "pg_dump and pg_restore."
            )
        return binaries

    def _initialise(self) -> None:
        if self.data.exists() and any(self.data.iterdir()):
            raise SettingError(
                f"{self.data} is not empty and has no PostgreSQL data. Choose another directory with --data."
            )
        # Created under another name and renamed when complete, so that an interrupted start leaves no partial
        # directory.
        partial = Path(tempfile.mkdtemp(prefix=f".{self.data.name}-", dir=self.data.parent))
        try:
            self._account.take_ownership(partial)
            password = secrets.token_urlsafe(24)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
                file.write(password)
                file.flush()
                self._account.take_ownership(Path(file.name))
                command: list[str | Path] = [
                    self._bin_dir / "initdb",
                    f"--pgdata={partial}",
                    f"--username={_USER}",
                    f"--pwfile={file.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--no-locale",  # the same sort order on every machine and in both editions
                    "--data-checksums",
                    *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
                ]
                result = subprocess.run(
                    command,
                    check=False,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    **self._account.process_arguments(),
                )
            if result.returncode:
                raise DatabaseError(f"initdb failed in {self.data}: {result.stderr.strip()}")
            for name, text in ((_PASSWORD_FILE, password), (_EDITION_FILE, self.edition)):
                path = partial / name
                path.touch(mode=0o600)
                path.write_text(text + "\n", encoding="utf-8")
                self._account.take_ownership(path)
            partial.rename(self.data)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _check_not_running(self) -> None:
        """Refuse a second server on the same data; remove the process file of a killed one."""
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text(encoding="utf-8").split("\n", 1)[0])
        except FileNotFoundError:
            return
        if not processes.is_running(pid) or not processes.is_server_of(pid, self.data):
            # PostgreSQL removes a stale file unless another process has the number now.
            path.unlink(missing_ok=True)
            return
        raise DatabaseError(
            f"a server with process id {pid} already runs on {self.data}. Use that one, "
            f"stop it (`kill -INT {pid}`), or choose another directory with --data."
        )

    def _choose_port(self) -> int:
        # A second start uses the port of the first, so that clients find the server again.
        preferred = self.port or (DEFAULT_PORT if self._requested_port is None else self._requested_port)
        for port in (preferred, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return int(probe.getsockname()[1])
                except OSError:
                    if self._requested_port:
                        raise _port_taken(port) from None
        raise DatabaseError("no free TCP port on 127.0.0.1")

    def _launch(self) -> None:
        settings = dict(_SETTINGS)
        if self.edition == "timescaledb":
            settings |= _TIMESCALEDB_SETTINGS
        if built_with(self.binaries, "lz4"):
            settings["wal_compression"] = "lz4"
        settings |= {**self._settings, "port": str(self.port)}
        command: list[str | Path] = [self._bin_dir / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._launch_time = time.time() - 1
        with (self.data / _START_LOG).open("wb") as log:
            self._account.take_ownership(self.data / _START_LOG)
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._account.process_arguments()
            )
        # After any error during the wait, including a second Ctrl-C, no server must remain.
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready(process.pid):
            if process.poll() is not None:
                reason = self.failure_lines()
                # The logging process writes the reason a moment after the server has ended.
                log_deadline = time.monotonic() + 2
                while not any(word in reason for word in _FAILURE_WORDS) and time.monotonic() < log_deadline:
                    time.sleep(0.05)
                    reason = self.failure_lines()
                if "could not bind" in reason:
                    raise _port_taken(self.port)
                raise DatabaseError(f"PostgreSQL did not start in {self.data}: {reason}")
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"PostgreSQL does not answer after {_START_SECONDS:.0f} s; its log is in {self.data / 'log'}."
                )
            time.sleep(0.02)

    def _is_ready(self, pid: int) -> bool:
        # The process id excludes another server that answers on the same port.
        with contextlib.suppress(OSError, IndexError, ValueError):
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
            return int(lines[0]) == pid and lines[7].strip() == "ready"
        return False

    def _create_database(self) -> None:
        environment = self.environment()
        try:
            with psycopg.connect(
                host=environment["PGHOST"], port=self.port, user=_USER, password=environment["PGPASSWORD"],
                dbname="postgres", autocommit=True,
            ) as connection:  # fmt: skip
                exists = connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone()
                if exists is None:
                    connection.execute(f"create database {DATABASE}")
        except psycopg.Error as error:
            self.stop()
            raise DatabaseError(f"can't create the database {DATABASE}: {str(error).strip()}") from error


class _PortTakenError(DatabaseError):
    """Another program listens on the port."""


def _port_taken(port: int) -> _PortTakenError:
    return _PortTakenError(
        f"port {port} is taken by another program. Choose another one with --port, or omit the option."
    )
