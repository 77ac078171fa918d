"""Facts about processes of this machine."""

import os
from contextlib import suppress
from pathlib import Path

import psutil


def is_running(pid: int) -> bool:
    """Return whether process ``pid`` exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's process
        return True


def is_server_of(pid: int, data: Path) -> bool:
    """Return whether process ``pid`` is the PostgreSQL server of ``data``, which is its working directory."""
    try:
        process = psutil.Process(pid)
        try:
            return Path(process.cwd()) == data.resolve()
        except psutil.AccessDenied:  # another user's process
            return "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


def children(pid: int) -> list[int]:
    """Return the ids of the direct children of process ``pid``."""
    return [child.pid for child in psutil.Process(pid).children()]


def session_members(leader: int) -> list[int]:
    """Return the ids of the running processes in the session of ``leader``."""
    members = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader and is_running(pid):
                members.append(pid)
    return members
