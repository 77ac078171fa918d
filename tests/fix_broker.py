"""Fixtures: real MQTT brokers. Tests share one broker and use different topics and client ids."""

import secrets
from collections.abc import Iterator

import pytest

from local_services.broker import BrokerSettings, LocalBroker, executable

# nats sends unacknowledged messages again after this time; its default of 30 s is as long as tests wait.
SETTINGS = BrokerSettings(ack_wait_seconds=3)


@pytest.fixture(scope="session")
def broker(tmp_path_factory) -> Iterator[LocalBroker]:
    """Start the preferred broker installed: mosquitto, else nats-server."""
    with LocalBroker(tmp_path_factory.mktemp("broker"), settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="session", params=["mosquitto", "nats"])
def any_broker(request, tmp_path_factory) -> Iterator[LocalBroker]:
    """Start each installed broker, one after another; the test of a missing one is skipped with its name."""
    if executable(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    with LocalBroker(tmp_path_factory.mktemp(request.param), kind=request.param) as running:
        yield running


@pytest.fixture
def unique() -> str:
    """Return a unique name for topics and client ids on a shared broker."""
    return f"t{secrets.token_hex(6)}"
