"""Members of a share group: lost members and their successors."""

from collector.sources.mqtt_takeover import LOST_AFTER_SECONDS, STAGGER_SECONDS, Members

FILTERS = ("$share/group/sensors/#",)
LATER = LOST_AFTER_SECONDS + 0.1


def members(me: str, *others: str) -> Members:
    """Return the members as ``me`` sees them; all sent a heartbeat at 0."""
    group = Members(me)
    for name in (me, *others):
        group.record_session(name, FILTERS, 0)
        group.record_heartbeat(name, 0)
    return group


def test_member_with_heartbeats_is_not_lost():
    """A member with a heartbeat in time is not lost, and a member never takes over its own session."""
    group = members("a", "b")
    assert group.lost_member(LOST_AFTER_SECONDS) is None
    group.record_heartbeat("b", LOST_AFTER_SECONDS)
    assert group.lost_member(2 * LOST_AFTER_SECONDS) is None


def test_first_living_member_takes_over():
    """The first living member by name takes over immediately, with the recorded filters; the next one only later."""
    a, c = members("a", "b", "c"), members("c", "a", "b")
    for member in (a, c):
        member.record_heartbeat("a", LATER)
        member.record_heartbeat("c", LATER)
    assert a.lost_member(LATER) == ("b", FILTERS)
    assert c.lost_member(LATER) is None
    c.record_heartbeat("a", LATER + STAGGER_SECONDS)
    assert c.lost_member(LATER + STAGGER_SECONDS) == ("b", FILTERS)


def test_served_session_is_not_taken_over_twice():
    """While a successor sends heartbeats for the lost member, no other takes over its session."""
    group = members("c", "a", "b")
    group.record_heartbeat("b", LATER)
    group.record_heartbeat("a", LATER)
    assert group.lost_member(LATER + STAGGER_SECONDS) is None


def test_earlier_record_gets_time():
    """A record that a new member finds is taken over only after its owner had time for a heartbeat."""
    group = Members("new")
    group.record_session("old", FILTERS, 100)
    assert group.lost_member(100 + LOST_AFTER_SECONDS) is None
    assert group.lost_member(100 + LATER) == ("old", FILTERS)


def test_removed_session_is_never_lost():
    """A member whose record is deleted is never lost; deleting an unknown record does no harm."""
    group = members("a", "b")
    group.record_session("b", (), 1)
    group.record_session("never", (), 1)
    assert group.lost_member(10 * LOST_AFTER_SECONDS) is None


def test_reconnecting_restarts_the_waiting_time():
    """After a reconnection all members get the full time for a heartbeat again."""
    group = members("a", "b")
    group.reconnected(LATER)
    assert group.lost_member(LATER + LOST_AFTER_SECONDS) is None
    assert group.lost_member(2 * LATER) == ("b", FILTERS)
