"""Whom processes talk to, seen where it cannot be missed: in the system calls of all of them (strace, Linux)."""

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
    """Return why processes can't be watched here, or None when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else f"strace may not trace: {done.stderr.strip()}"


class Watch:
    """Watches one command and all processes it starts; what it sees is in ``file``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def prefix(self) -> list[str]:
        """What to write before the command."""
        return ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "64", "-e", f"trace={_CALLS}", "-o", str(self.file)]

    def peers(self) -> set[tuple[str, int]]:
        """Return the address and port of everybody on a network, this machine's own included, that was called."""
        text = self.file.read_text(errors="replace")
        return {(address, int(port)) for pattern in (_FOUR, _SIX) for port, address in pattern.findall(text)}

    def beyond(self) -> list[str]:
        """Return who was called that is not this machine, and who was asked for addresses of names."""
        strangers = {
            f"{address}:{port}"
            for address, port in self.peers()
            if port in _DNS or not ipaddress.ip_address(address).is_loopback
        }
        return sorted(strangers.union(_RESOLVER.findall(self.file.read_text(errors="replace"))))


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Return a watch; skips where there is none."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    return Watch(tmp_path / "watched")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that nobody was watched."""
    if (reason := missing()) is not None:
        terminalreporter.write_line(f"NOT TESTED: whom processes talk to: {reason}", red=True, bold=True)
