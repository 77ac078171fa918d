"""Ports of local servers."""

import subprocess
import sys

import pytest

from local_services.ports import free_port

ASK = "import sys; from local_services.ports import free_port; print(free_port(int(sys.argv[1])))"


@pytest.mark.skipif(sys.platform != "linux", reason="ports are reserved on Linux only")
def test_two_processes_get_different_ports():
    """A port that one process has chosen, and on which nothing listens yet, is not given to another."""
    port = free_port()
    assert free_port(port) == port
    other = subprocess.run([sys.executable, "-c", ASK, str(port)], capture_output=True, text=True, check=True)
    assert int(other.stdout) != port
