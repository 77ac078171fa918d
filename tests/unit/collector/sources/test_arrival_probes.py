"""Probes: how long a message of a session may have waited, and which probes stay unacknowledged."""

import pytest

from collector.sources.arrival import Arrival

SECOND = 1_000_000


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of :func:`arrival`."""
    return Clock()


@pytest.fixture
def arrival(clock) -> Arrival:
    """Return the probes of a resumed session with a limit of 30 s."""
    arrival = Arrival("c/1", 30, clock, clock)
    arrival.connected(new_session=False)
    permit(arrival)
    return arrival


def permit(arrival: Arrival) -> None:
    """Give back the first probe of a connection, of QoS 0."""
    arrival.returned(arrival.topic.encode(), arrival.next_probe()[0], 0, None)


def probe(arrival: Arrival, delivery: int = 1, unacknowledged: int | None = None) -> list[int]:
    """Publish the next probe and give it back at once."""
    return arrival.returned(arrival.topic.encode(), arrival.next_probe()[0], delivery, unacknowledged)


def test_waiting_is_bounded_by_the_last_probe(arrival, clock):
    """A message may have waited as long as the last probe that came back is old."""
    probe(arrival)
    clock.now += 45
    assert arrival.waited() == 45 * SECOND


def test_arrival_is_known_within_the_limit(arrival, clock):
    """A message has not waited if a probe of the last 30 s has come back before it."""
    probe(arrival)
    clock.now += 30
    assert arrival.waited() == 0


def test_nothing_is_claimed_without_a_probe(arrival, clock):
    """As long as no probe has come back, messages are stored as if there were none: the broker may forbid them."""
    clock.now += 1000
    assert arrival.waited() == 0


def test_first_probe_of_a_connection_has_qos_0(arrival):
    """A broker that forbids probes disconnects at QoS 1: the first one only asks, and tells nothing about waiting."""
    arrival.connected(new_session=False)
    first = arrival.next_probe()
    arrival.returned(arrival.topic.encode(), first[0], 0, None)
    assert (first[1], arrival.next_probe()[1], arrival.is_known) == (0, 1, False)


def test_limit_zero_is_off(clock):
    """With limit 0 no probe is published."""
    arrival = Arrival("c", 0, clock, clock)
    arrival.connected(new_session=True)
    assert arrival.next_probe() is None


def test_probes_are_published_three_times_per_limit(arrival, clock):
    """The next probe follows after a third of the limit."""
    arrival.next_probe()
    clock.now += 9.9
    before = arrival.next_probe()
    clock.now += 0.2
    assert (before, arrival.next_probe() is None) == (None, False)


def test_new_session_has_nothing_that_waited(arrival, clock):
    """At a new session the waiting begins with the connection."""
    probe(arrival)
    clock.now += 600
    arrival.connected(new_session=True)
    assert arrival.waited() == 0


def test_probe_of_another_process_is_dated_by_its_wall_clock(arrival, clock):
    """The probe that a dead process left in the session tells how old the messages behind it may be."""
    arrival.returned(arrival.topic.encode(), f"other 5.0 {clock.now - 600!r}".encode(), 7, None)
    assert arrival.waited() == 600 * SECOND


@pytest.mark.parametrize(
    "payload", [b"", b"a b", b"a b c", b"a 1 nan", b"a 1 inf", b"a 1 -inf", b"\xff 1 2", b"a 1 2 3"]
)
def test_messages_that_are_no_probe_are_acknowledged(arrival, payload):
    """Any other message on the topic is acknowledged and tells nothing."""
    assert (arrival.returned(arrival.topic.encode(), payload, 7, None), arrival.is_known) == ([7], False)


def test_probe_of_another_collector_is_acknowledged(arrival):
    """A filter such as # also brings the probes of other sessions."""
    assert arrival.returned(b"sensor-warehouse/arrival/c2", arrival.next_probe()[0], 7, None) == [7]


def test_newest_probe_stays_unacknowledged(arrival, clock):
    """A probe is acknowledged when the next one has come back, so that the session always begins with one."""
    first = probe(arrival, 1)
    clock.now += 10
    assert (first, probe(arrival, 2)) == ([], [1])


def test_older_probe_waits_for_the_messages_before_the_next(arrival, clock):
    """A probe stays in front of messages that are not committed yet."""
    probe(arrival, 1)
    clock.now += 10
    released = probe(arrival, 5, unacknowledged=4)
    assert (released, arrival.acknowledged([2, 3]), arrival.acknowledged([4])) == ([], [], [1])


def test_at_most_two_probes_stay_unacknowledged(arrival, clock):
    """While the database is away the oldest and the newest probe are kept, and those between are acknowledged."""
    for number in (1, 2, 3):
        released = probe(arrival, number, unacknowledged=9)
        clock.now += 10
    assert released == [2]


def test_held_probe_is_released_if_the_broker_sends_nothing_else(arrival, clock):
    """A broker that allows one message in flight must not wait for the probe forever."""
    probe(arrival, 1)
    clock.now += 10
    arrival.next_probe()
    clock.now += 31
    assert arrival.overdue(is_idle=True) == [1]


def test_probes_that_stop_on_a_quiet_connection_end_the_claim(arrival, clock):
    """A broker that returns no probe although nothing is waiting forbids them: messages are stored as before."""
    probe(arrival)
    clock.now += 10
    arrival.next_probe()
    for _ in range(2):
        clock.now += 31
        arrival.overdue(is_idle=True)
    assert arrival.waited() == 0


def test_probes_may_be_late_while_messages_are_not_acknowledged(arrival, clock):
    """While the database is away the broker's window is full, and a late probe means nothing but that."""
    probe(arrival)
    clock.now += 10
    arrival.next_probe()
    for _ in range(60):
        clock.now += 1
        arrival.overdue(is_idle=False)
    assert arrival.waited() == 70 * SECOND
