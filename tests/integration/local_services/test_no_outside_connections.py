"""Network connections: the tracer records all of them; a collector connects only to its broker and database."""

import os
import subprocess
import sys

import psutil
import pytest
from fix_collector import PROGRAM, until

SOCKET = "import socket; s = socket.socket({}); s.setblocking(False); s.{}"
CONNECTIONS = {
    "a socket": (SOCKET.format("", "connect_ex(('192.0.2.1', 9))"), "192.0.2.1:9"),
    "a datagram": (SOCKET.format("type=socket.SOCK_DGRAM", "sendto(b'x', ('192.0.2.1', 9))"), "192.0.2.1:9"),
    "IPv6": (SOCKET.format("socket.AF_INET6", "connect_ex(('2001:db8::1', 9))"), "2001:db8::1:9"),
    "libpq": ("import psycopg; psycopg.connect('host=192.0.2.1 port=9 connect_timeout=1 user=u')", "192.0.2.1:9"),
    "a name": ("import socket; socket.getaddrinfo('nowhere.invalid', 9)", ""),
}
"""Kind of connection → code that opens it, and its recorded target."""


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_the_tracer_records_every_kind_of_connection(connection_trace, kind):
    """Connections of C libraries, datagrams and child processes are recorded, and so are name lookups."""
    code, target = CONNECTIONS[kind]
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    subprocess.run(
        [*connection_trace.prefix, sys.executable, "-c", child], check=False, capture_output=True, timeout=60
    )
    assert [address for address in connection_trace.outside() if target in address]


@pytest.mark.parametrize("edition", ["postgresql"], indirect=True)
def test_a_collector_connects_only_to_broker_and_database(connection_trace, database, broker, collectors):
    """From start to end it looks up no name and connects only to those two."""
    environment = {
        **os.environ, **broker.environment(), "COLLECTOR_REGISTRY": str(collectors.registry),
        "COLLECTOR_CLIENT_ID": "traced",
    }  # fmt: skip
    with subprocess.Popen(
        [*connection_trace.prefix, PROGRAM, "run"], env=environment, stderr=subprocess.PIPE, text=True
    ) as tracer:
        output = ""
        assert tracer.stderr
        for line in tracer.stderr:
            output += line
            if '"subscribed"' in line:
                break
        assert tracer.poll() is None, output
        (collector,) = psutil.Process(tracer.pid).children()
        collector.terminate()
        until(lambda: not collector.is_running() or collector.status() == psutil.STATUS_ZOMBIE)
        tracer.stderr.read()
    assert connection_trace.outside() == []
    peers = {port for _, port in connection_trace.peers()}
    assert peers == {int(os.environ["PGPORT"]), int(broker.environment()["MQTT_PORT"])}
