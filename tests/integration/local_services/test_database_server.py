"""The local server: starts, stops, survives, and says what is wrong."""

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
    """Connect to a server by the variables that it gives out."""
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    where = {names[name]: value for name, value in server.environment().items()}
    return psycopg.connect(**{**where, **changed}, autocommit=True)


@pytest.fixture
def available(edition, servers):
    """The edition, when it is installed here."""
    servers.get(edition)
    return edition


@pytest.fixture
def server(available, server_folder):
    """A started server of its own."""
    with LocalServer(server_folder / "data", available, 0) as server:
        yield server


def test_committed_rows_survive_a_kill(server):
    """After SIGKILL of the server and all its children a new start has every committed row, on the same port."""
    port = server.port
    with connect(server) as connection:
        connection.execute("create table t as select n from generate_series(1, 1000) as n")
    server.kill()
    server.start()
    with connect(server) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (1000,)
    assert server.port == port


def test_durability_is_not_traded_for_speed(server):
    """The product's promise rests on these settings."""
    with connect(server) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"show {name}").fetchone() == ("on",)


def test_only_the_password_opens_it(server):
    """Another password is refused, over TCP on 127.0.0.1, and there is no other way in."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server, password="guess")
    with connect(server) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("show unix_socket_directories").fetchone() == ("",)
        (stored,) = connection.execute("select rolpassword from pg_authid where rolname = 'postgres'").fetchone()
    assert stored.startswith("SCRAM-SHA-256$")


def test_the_password_is_kept_and_private(server):
    """A second server on the same directory has the same password, and only its account can read it."""
    before = server.environment()["PGPASSWORD"]
    assert stat.S_IMODE((server.data / "warehouse-password").stat().st_mode) == 0o600
    server.stop()
    with LocalServer(server.data, "auto", 0) as again:
        assert again.environment()["PGPASSWORD"] == before
        assert again.edition == server.edition
        connect(again).close()


def test_a_second_server_on_the_same_data_is_refused(server):
    """The message has the process to stop."""
    with pytest.raises(DatabaseError, match=r"process id \d+ already runs on .*kill -INT"):
        LocalServer(server.data, "auto", 0).start()
    connect(server).close()


def test_a_stale_process_file_of_a_living_process_does_not_hinder(server):
    """After a crash and a reboot the number in postmaster.pid may belong to any process."""
    server.kill()
    lines = (server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines(keepends=True)
    (server.data / "postmaster.pid").write_text("".join([f"{os.getppid()}\n", *lines[1:]]), encoding="utf-8")
    server.start()
    connect(server).close()


def test_a_taken_port_is_replaced_unless_it_was_asked_for(available, server_folder, monkeypatch):
    """The default port gives way to a free one; a port by number is an error that names it."""
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


def test_another_major_version_is_named_with_the_mend(server):
    """Data of another PostgreSQL is not touched."""
    server.stop()
    (server.data / "PG_VERSION").write_text("13\n", encoding="ascii")
    with pytest.raises(SettingError, match=r"made by PostgreSQL 13, but here is .*pg_upgrade"):
        LocalServer(server.data)


def test_another_edition_is_named_with_the_mend(server):
    """Data of one edition is not opened as the other."""
    other = {"timescaledb": "postgresql", "postgresql": "timescaledb"}[server.edition]
    with pytest.raises(SettingError, match=f"of the edition {server.edition}, not {other}"):
        LocalServer(server.data, other)


def test_a_directory_with_other_things_in_it_is_left_alone(available, server_folder):
    """A directory that holds no PostgreSQL data is not overwritten."""
    (server_folder / "data").mkdir()
    (server_folder / "data" / "thesis.txt").touch()
    with pytest.raises(SettingError, match="not empty and holds no PostgreSQL data"):
        LocalServer(server_folder / "data", available, 0).start()


def test_a_setting_that_postgresql_refuses_is_told(available, server_folder):
    """When the server does not start, its own words are in the message and nothing is left running."""
    server = LocalServer(server_folder / "data", available, 0, {"shared_buffers": "1 parsec"})
    with pytest.raises(DatabaseError, match="shared_buffers"):
        server.start()
    assert server.wait(0)


def serve(*options: str) -> tuple[subprocess.Popen, dict[str, str], str]:
    """Start the console command; returns it, the variables it prints, and all it printed."""
    program = "from timescale.cli import main; main()"
    command = subprocess.Popen(
        [sys.executable, "-c", program, "serve", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    while "Running" not in said:
        line = command.stdout.readline()
        assert line, said
        said += line
    return command, dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", said, flags=re.MULTILINE)), said


def processes_in(data: Path) -> list[str]:
    """Return the ids of processes that work in ``data``."""
    listed = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve().is_relative_to(data):
                listed.append(entry.name)
        except OSError:
            continue
    return listed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_the_server(available, server_folder, number):
    """The command says what it runs and how to connect; Ctrl-C or SIGTERM ends it with status 0 and no process left."""
    data = server_folder / "data"
    command, environment, said = serve("--data", str(data), "--edition", available)
    try:
        assert ("TimescaleDB Community" in said) == (available == "timescaledb")
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
def test_an_ordinary_user_runs_it_as_himself(available):
    """Without root, the server and its data belong to the user."""
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    # Root's rights are given up after the imports: the interpreter itself may lie below root's closed home.
    program = f"""
import encodings.idna, os, sys
from pathlib import Path
from local_services.database_server import LocalServer
import core.database
os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
with LocalServer(Path(".local/postgres"), sys.argv[1], 0) as server:
    print(Path("/proc", str(server._process.pid)).stat().st_uid, server.data.stat().st_uid)
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, available],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.split() == [str(nobody.pw_uid)] * 2, done.stderr
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root must lend the server another account")
def test_root_reaches_round_its_own_closed_directories(available, tmp_path, monkeypatch, server_folder):
    """Below a directory with mode 0700 data and programs move to where the server's account gets, and it stays 0700."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(unix_account, "SHARED", server_folder)
    with LocalServer(closed / "data", available, 0) as server:
        assert server.data.is_relative_to(server_folder)
        connect(server).close()
        again = LocalServer(closed / "data", available, 0)
        assert again.data == server.data
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root must lend the server another account")
def test_programs_below_a_closed_directory_are_copied_once(tmp_path, monkeypatch, server_folder):
    """The account gets a whole copy that it can run, and the second start takes the same."""
    monkeypatch.setattr(unix_account, "SHARED", server_folder)
    (tmp_path / "lib").mkdir(mode=0o700)
    (tmp_path / "bin").mkdir(mode=0o700)
    program = tmp_path / "bin" / "postgres"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o700)
    tmp_path.chmod(0o700)
    lent = unix_account.account()
    copied = lent.programs(tmp_path / "bin")
    assert copied.is_relative_to(server_folder)
    assert lent.reaches(copied / "postgres")
    assert lent.programs(tmp_path / "bin") == copied
