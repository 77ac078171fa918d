"""Members of a share group: who is lost, and whose it is to inherit."""

from collector.sources.mqtt_takeover import SILENCE_SECONDS, STAGGER_SECONDS, Members

FILTERS = ("$share/group/sensors/#",)
LATER = SILENCE_SECONDS + 0.1


def members(me: str, *others: str) -> Members:
    """Return what ``me`` knows of ``others``, all of whom it has heard at 0."""
    found = Members(me)
    for name in (me, *others):
        found.described(name, FILTERS, 0)
        found.heard(name, 0)
    return found


def test_who_speaks_is_not_lost():
    """Nobody inherits a member that was heard within the silence that is allowed, nor itself."""
    found = members("a", "b")
    assert found.lost(SILENCE_SECONDS) is None
    found.heard("b", SILENCE_SECONDS)
    assert found.lost(2 * SILENCE_SECONDS) is None


def test_the_first_of_the_living_inherits():
    """Of several that live the first by name inherits at once, with the filters of the record; the next only later."""
    a, c = members("a", "b", "c"), members("c", "a", "b")
    for one in (a, c):
        one.heard("a", LATER)
        one.heard("c", LATER)
    assert a.lost(LATER) == ("b", FILTERS)
    assert c.lost(LATER) is None
    c.heard("a", LATER + STAGGER_SECONDS)
    assert c.lost(LATER + STAGGER_SECONDS) == ("b", FILTERS)


def test_whose_session_is_served_is_not_inherited_twice():
    """While an heir speaks for the lost one, nobody else goes for its session."""
    found = members("c", "a", "b")
    found.heard("b", LATER)
    found.heard("a", LATER)
    assert found.lost(LATER + STAGGER_SECONDS) is None


def test_a_record_from_before_is_waited_for():
    """A record that a new member finds is inherited only after its owner had time to speak."""
    found = Members("new")
    found.described("old", FILTERS, 100)
    assert found.lost(100 + SILENCE_SECONDS) is None
    assert found.lost(100 + LATER) == ("old", FILTERS)


def test_a_member_with_nothing_left_is_forgotten():
    """Once its record is withdrawn a member is nobody's to inherit; a record that never was may be withdrawn too."""
    found = members("a", "b")
    found.described("b", (), 1)
    found.described("never", (), 1)
    assert found.lost(10 * SILENCE_SECONDS) is None


def test_after_a_broken_connection_all_begin_anew():
    """What could not be heard while the connection was broken is held against nobody."""
    found = members("a", "b")
    found.connected(LATER)
    assert found.lost(LATER + SILENCE_SECONDS) is None
    assert found.lost(2 * LATER) == ("b", FILTERS)
