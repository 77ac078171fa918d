"""Facts about processes."""

import os
import subprocess
import sys
import time

import pytest

from local_services import processes

WITH_CHILD = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


@pytest.fixture
def parent(tmp_path):
    """Start a process with a child, in its own session and working directory; yield it and the child's id."""
    with subprocess.Popen(
        [sys.executable, "-c", WITH_CHILD], cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process, int(process.stdout.readline())
        os.killpg(process.pid, 9)


def test_children_and_session(parent):
    """A child is one of the children of its parent and, like it, a member of the session."""
    process, child = parent
    assert processes.children(process.pid) == [child]
    assert set(processes.session_members(process.pid)) == {process.pid, child}


def test_zombies_do_not_run(parent):
    """A process that has ended does not run, even while its parent has not collected its status."""
    process, child = parent
    assert processes.is_running(child)
    os.kill(process.pid, 9)
    deadline = time.monotonic() + 10
    while processes.is_running(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes.is_running(process.pid)
    assert processes.session_members(process.pid) == [child]
    process.wait()
    assert not processes.is_running(process.pid)


def test_a_server_is_known_by_its_working_directory(parent, tmp_path):
    """A process is the server of a directory only if that is its working directory."""
    process, _ = parent
    assert processes.is_server_of(process.pid, tmp_path)
    assert not processes.is_server_of(process.pid, tmp_path.parent)
    assert not processes.is_server_of(2**22 + 1, tmp_path)
