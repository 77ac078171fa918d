"""Exponential back-off between retries."""

from core.backoff import Backoff


def test_pauses_double_up_to_the_longest():
    """Each pause is twice the one before, the longest is not exceeded."""
    backoff = Backoff(first=0.5, longest=3.0)
    assert [backoff.advance() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_next_pause_can_be_announced():
    """``pause`` is the pause that ``advance`` returns next, so that a log line can state it."""
    backoff = Backoff(first=1, longest=60)
    backoff.advance()
    assert (backoff.last, backoff.pause) == (1, 2)
    assert backoff.advance() == 2


def test_reset_starts_again():
    """After a success the first pause comes again, and nothing counts as retried."""
    backoff = Backoff(first=0.1, longest=5.0)
    backoff.advance()
    backoff.advance()
    backoff.reset()
    assert backoff.last is None
    assert backoff.advance() == 0.1
