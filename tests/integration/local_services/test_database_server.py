"""The local PostgreSQL server: start, stop, recovery and errors."""

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from core.errors import DatabaseError, SettingError
from local_services import unix_account
from local_services.database_server import LocalServer

AS_ROOT = os.geteuid() == 0


def connect(server: LocalServer, **changed: str) -> psycopg.Connection:
    """Connect to a server with its PG* variables."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    parameters = {names[name]: value for name, value in server.environment().items()}
    return psycopg.connect(**{**parameters, **changed}, autocommit=True)


@pytest.fixture
def available(edition, servers):
    """The edition, if it is installed."""
    servers.get(edition)
    return edition


@pytest.fixture
def server(available, server_folder):
    """A separate, started server."""
    with LocalServer(server_folder / "data", available, 0) as server:
        yield server


def test_committed_rows_survive_a_kill(server):
    """After SIGKILL of the server and its children, the next start has every committed row and the same port."""
    port = server.port
    with connect(server) as connection:
        connection.execute("create table t as select n from generate_series(1, 1000) as n")
    server.kill()
    server.start()
    with connect(server) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (1000,)
    assert server.port == port


def test_durability_settings_are_on(server):
    """The settings that committed data depends on are on."""
    with connect(server) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"show {name}").fetchone() == ("on",)


def test_only_the_password_opens_it(server):
    """A wrong password is refused, and the server listens only on 127.0.0.1, with no Unix socket."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server, password="guess")
    with connect(server) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("show unix_socket_directories").fetchone() == ("",)
        (stored,) = connection.execute("select rolpassword from pg_authid where rolname = 'postgres'").fetchone()
    assert stored.startswith("SCRAM-SHA-256$")


def test_the_password_is_kept_and_private(server):
    """A later server on the same directory has the same password; only its account can read the file."""
    before = server.environment()["PGPASSWORD"]
    assert stat.S_IMODE((server.data / "warehouse-password").stat().st_mode) == 0o600
    server.stop()
    with LocalServer(server.data, "auto", 0) as again:
        assert again.environment()["PGPASSWORD"] == before
        assert again.edition == server.edition
        connect(again).close()


def test_a_second_server_on_the_same_data_is_refused(server):
    """The error names the process to stop."""
    with pytest.raises(DatabaseError, match=r"process id \d+ already runs on .*kill -INT"):
        LocalServer(server.data, "auto", 0).start()
    connect(server).close()


def test_a_stale_process_file_does_not_block_a_start(server):
    """After a crash and a reboot the number in postmaster.pid may be that of another process."""
    server.kill()
    lines = (server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines(keepends=True)
    (server.data / "postmaster.pid").write_text("".join([f"{os.getppid()}\n", *lines[1:]]), encoding="utf-8")
    server.start()
    connect(server).close()


def test_a_taken_port_is_replaced_unless_requested(available, server_folder, monkeypatch):
    """If the default port is taken, a free one is used; a requested port that is taken is an error."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(DatabaseError, match=f"port {taken} is taken"):
            LocalServer(server_folder / "data", available, taken).start()
        monkeypatch.setattr("local_services.database_server.DEFAULT_PORT", taken)
        with LocalServer(server_folder / "data", available) as server:
            assert server.port != taken
            connect(server).close()


def test_another_major_version_is_refused(server):
    """Data of another PostgreSQL version is not opened; the error names the fix."""
    server.stop()
    (server.data / "PG_VERSION").write_text("13\n", encoding="ascii")
    with pytest.raises(SettingError, match=r"created by PostgreSQL 13, but .*is installed.*pg_upgrade"):
        LocalServer(server.data)


def test_another_edition_is_refused(server):
    """Data of one edition is not opened as the other edition."""
    other = {"timescaledb": "postgresql", "postgresql": "timescaledb"}[server.edition]
    with pytest.raises(SettingError, match=f"of edition {server.edition}, not {other}"):
        LocalServer(server.data, other)


def test_a_directory_with_other_files_is_refused(available, server_folder):
    """A directory without PostgreSQL data is not overwritten."""
    (server_folder / "data").mkdir()
    (server_folder / "data" / "thesis.txt").touch()
    with pytest.raises(SettingError, match="not empty and has no PostgreSQL data"):
        LocalServer(server_folder / "data", available, 0).start()


def test_an_invalid_setting_is_reported(available, server_folder):
    """If the server does not start, the error has its message and no process remains."""
    server = LocalServer(server_folder / "data", available, 0, {"shared_buffers": "1 parsec"})
    with pytest.raises(DatabaseError, match="shared_buffers"):
        server.start()
    assert server.has_ended(0)


def serve(*options: str) -> tuple[subprocess.Popen, dict[str, str], str]:
    """Start the console command; return it, the variables it prints, and its output."""
    program = "from timescale.cli import main; main()"
    command = subprocess.Popen(
        [sys.executable, "-c", program, "serve", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    output = ""
    while "Running" not in output:
        line = command.stdout.readline()
        assert line, output
        output += line
    return command, dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", output, flags=re.MULTILINE)), output


def processes_in(data: Path) -> list[str]:
    """Return the ids of processes whose working directory is in ``data``."""
    listed = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve().is_relative_to(data):
                listed.append(entry.name)
        except OSError:
            continue
    return listed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_and_the_server(available, server_folder, number):
    """The command prints edition and variables; Ctrl-C or SIGTERM ends it with status 0 and no process remains."""
    data = server_folder / "data"
    command, environment, output = serve("--data", str(data), "--edition", available)
    try:
        assert ("TimescaleDB Community" in output) == (available == "timescaledb")
        assert set(environment) == {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}
        psycopg.connect(
            " ".join(f"{k[2:].lower().replace('database', 'dbname')}={v}" for k, v in environment.items())
        ).close()
        assert processes_in(data)
    finally:
        command.send_signal(number)
        status = command.wait(60)
        command.stdout.close()
    assert status == 0
    assert processes_in(data) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_an_ordinary_user_runs_the_server(available):
    """Without root, the server and its data belong to the user."""
    user = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, user.pw_uid, user.pw_gid)
    # Root's rights are dropped after the imports, because the interpreter may be below root's private home.
    program = f"""
import encodings.idna, os, sys
from pathlib import Path
from local_services.database_server import LocalServer
import core.database
os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})
with LocalServer(Path(".local/postgres"), sys.argv[1], 0) as server:
    print(Path("/proc", str(server._process.pid)).stat().st_uid, server.data.stat().st_uid)
"""
    try:
        result = subprocess.run(
            [sys.executable, "-c", program, available],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.stdout.split() == [str(user.pw_uid)] * 2, result.stderr
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account for the server")
def test_private_directories_of_root_are_avoided(available, tmp_path, monkeypatch, server_folder):
    """Data and programs below a directory with mode 0700 move to a reachable folder; its mode does not change."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(unix_account, "SHARED", server_folder)
    with LocalServer(private / "data", available, 0) as server:
        assert server.data.is_relative_to(server_folder)
        connect(server).close()
        again = LocalServer(private / "data", available, 0)
        assert again.data == server.data
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account for the server")
def test_programs_in_a_private_directory_are_copied_once(tmp_path, monkeypatch, server_folder):
    """The account gets a complete copy that it can run, and the next start uses the same copy."""
    monkeypatch.setattr(unix_account, "SHARED", server_folder)
    (tmp_path / "lib").mkdir(mode=0o700)
    (tmp_path / "bin").mkdir(mode=0o700)
    program = tmp_path / "bin" / "postgres"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o700)
    tmp_path.chmod(0o700)
    account = unix_account.unix_account()
    copied = account.reachable_programs(tmp_path / "bin")
    assert copied.is_relative_to(server_folder)
    assert account.can_reach(copied / "postgres")
    assert account.reachable_programs(tmp_path / "bin") == copied
