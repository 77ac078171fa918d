"""Network connections of processes, recorded from their system calls (strace, Linux)."""

import ipaddress
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

_CALLS = "connect,sendto,sendmsg,sendmmsg"
_FOUR = re.compile(r'sa_family=AF_INET, sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)')
_SIX = re.compile(r'sa_family=AF_INET6, sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_RESOLVER = re.compile(r'sun_path="([^"]*(?:io\.systemd\.Resolve|avahi-daemon)[^"]*)"')
_DNS = {53, 853}


@cache
def missing() -> str | None:
    """Return why processes can't be traced here, or None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    result = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False, capture_output=True, text=True)
    return None if result.returncode == 0 else f"strace may not trace: {result.stderr.strip()}"


class ConnectionTrace:
    """Connections of one command and all its child processes, recorded in ``file``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def prefix(self) -> list[str]:
        """Arguments to put before the command."""
        return ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "64", "-e", f"trace={_CALLS}", "-o", str(self.file)]

    def peers(self) -> set[tuple[str, int]]:
        """Return address and port of every connection, including those on this machine."""
        text = self.file.read_text(errors="replace")
        return {(address, int(port)) for pattern in (_FOUR, _SIX) for port, address in pattern.findall(text)}

    def outside(self) -> list[str]:
        """Return the targets outside this machine, and the name servers and resolvers that were queried."""
        addresses = {
            f"{address}:{port}"
            for address, port in self.peers()
            if port in _DNS or not ipaddress.ip_address(address).is_loopback
        }
        return sorted(addresses.union(_RESOLVER.findall(self.file.read_text(errors="replace"))))


@pytest.fixture
def connection_trace(tmp_path: Path) -> ConnectionTrace:
    """Return a connection trace; skip the test if strace is not usable."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    return ConnectionTrace(tmp_path / "connections")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report that connections were not traced."""
    if (reason := missing()) is not None:
        terminalreporter.write_line(f"NOT TESTED: network connections of processes: {reason}", red=True, bold=True)
