"""Who is called: the watch sees it, whatever calls; and a collector calls nobody but its broker and database."""

import os
import subprocess
import sys

import psutil
import pytest
from fix_collector import PROGRAM, until

SOCKET = "import socket; s = socket.socket({}); s.setblocking(False); s.{}"
CALLS = {
    "a socket": (SOCKET.format("", "connect_ex(('192.0.2.1', 9))"), "192.0.2.1:9"),
    "a datagram": (SOCKET.format("type=socket.SOCK_DGRAM", "sendto(b'x', ('192.0.2.1', 9))"), "192.0.2.1:9"),
    "IPv6": (SOCKET.format("socket.AF_INET6", "connect_ex(('2001:db8::1', 9))"), "2001:db8::1:9"),
    "libpq": ("import psycopg; psycopg.connect('host=192.0.2.1 port=9 connect_timeout=1 user=u')", "192.0.2.1:9"),
    "a name": ("import socket; socket.getaddrinfo('nowhere.invalid', 9)", ""),
}
"""What calls somebody, and whom."""


@pytest.mark.parametrize("caller", CALLS)
def test_the_watch_sees_whoever_calls(watch, caller):
    """It misses nothing for being in C, a datagram or another process; of a name it sees that it was looked up."""
    code, called = CALLS[caller]
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    subprocess.run([*watch.prefix, sys.executable, "-c", child], check=False, capture_output=True, timeout=60)
    assert [one for one in watch.beyond() if called in one]


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_a_collector_calls_nobody_beyond_broker_and_database(watch, database, broker, collectors):
    """From its start to its end it looks up no name and speaks to nobody but those two."""
    environment = {
        **os.environ, **broker.environment(), "COLLECTOR_REGISTRY": str(collectors.registry),
        "COLLECTOR_CLIENT_ID": "watched",
    }  # fmt: skip
    with subprocess.Popen(
        [*watch.prefix, PROGRAM, "run"], env=environment, stderr=subprocess.PIPE, text=True
    ) as tracer:
        said = ""
        assert tracer.stderr
        for line in tracer.stderr:
            said += line
            if '"subscribed"' in line:
                break
        assert tracer.poll() is None, said
        (collector,) = psutil.Process(tracer.pid).children()
        collector.terminate()
        until(lambda: not collector.is_running() or collector.status() == psutil.STATUS_ZOMBIE)
        tracer.stderr.read()
    assert watch.beyond() == []
    peers = {port for _, port in watch.peers()}
    assert peers == {int(os.environ["PGPORT"]), int(broker.environment()["MQTT_PORT"])}
