"""Arrivals are unique and follow the clock of the host."""

import pytest
import structlog

from collector.sources.arrival_clock import LONGEST_AHEAD, ArrivalClock

SECOND = 1_000_000_000


class Host:
    """A host whose clock can be set; times in nanoseconds."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000 * SECOND
        self.steady = 5 * SECOND
        self.clock = ArrivalClock(lambda: self.wall, lambda: self.steady)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += round(seconds * SECOND)
        self.steady += round(seconds * SECOND)

    def arrive(self) -> int:
        """Return the arrival of a message, in microseconds."""
        arrival = self.clock.next()
        self.clock.used(arrival)
        return arrival


@pytest.fixture
def host() -> Host:
    """Return a host."""
    return Host()


def test_messages_of_one_microsecond_differ(host):
    """Each message has its own microsecond."""
    first = host.arrive()
    assert [host.arrive() for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_clock_set_back_a_little(host):
    """Arrivals go on from the last one until the clock has caught up."""
    first = host.arrive()
    host.wall -= SECOND // 2
    assert host.arrive() == first + 1
    host.pass_(1)
    assert host.arrive() == first + 500_000
    assert host.clock.jumps == 0


@pytest.mark.parametrize("hours", [0.01, 10, 100_000])
def test_clock_that_jumps_ahead_once(host, hours):
    """After the clock is set right arrivals are right at once, and both steps are logged and counted."""
    host.arrive()
    host.wall += round(hours * 3600 * SECOND)
    host.arrive()
    host.pass_(60)
    host.wall -= round(hours * 3600 * SECOND)
    with structlog.testing.capture_logs() as lines:
        assert host.arrive() == host.wall // 1000
    assert host.clock.jumps == 2
    assert [(line["log_level"], line["seconds"]) for line in lines] == [("warning", -hours * 3600)]


def test_arrivals_are_never_far_ahead(host):
    """However often the clock is set back by little steps, no arrival is ahead by more than the bound."""
    for _ in range(100):
        host.wall -= SECOND // 5
        assert host.arrive() - host.wall // 1000 <= LONGEST_AHEAD + 1
