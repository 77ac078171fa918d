"""Free ports for the servers of the demonstration and the tests."""

import contextlib
import socket
import sys

from core.errors import WarehouseError

HOST = "127.0.0.1"
"""The only address that servers of the demonstration and the tests listen on."""


class NoFreePortError(WarehouseError):
    """Every port that was tried is taken."""


def free_port(preferred: int | None = None) -> int:
    """Return ``preferred`` if nothing listens on it on 127.0.0.1, else a free port.

    Another process that asks gets another port while this one runs, although its server does not listen yet.
    """
    for port in (preferred, 0, 0, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a connection in state TIME_WAIT does not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port is not None:
                probe.bind((HOST, port))
                number = int(probe.getsockname()[1])
                _reserve(number)
                return number
    raise NoFreePortError(f"no free port on {HOST}: stop programs that listen on many ports")


_reserved: set[int] = set()


def _reserve(port: int) -> None:
    """Reserve ``port`` among the programs of this project until this process ends; raises OSError.

    Two demonstrations that start at the same time would otherwise choose the same one. Linux only: the reservation is
    a socket with an abstract name (unix(7)), which the system removes with the process.
    """
    if port in _reserved or sys.platform != "linux":
        return
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0sensor-warehouse-port-{port}")
    except OSError:
        reservation.close()
        raise
    _reserved.add(port)
    reservation.detach()  # the system closes it; Python would warn about an unclosed socket at exit
