"""Rejection of weak secrets."""

import secrets

import pytest

from timescale.weak_secrets import weakness


@pytest.mark.parametrize(
    "value",
    ["", "  ", "changeme", "CHANGE-ME-PLEASE", "password12345", "example-of-a-secret", "<your password>", "collector"],
)
def test_empty_and_example_values_are_refused(value):
    """An empty or example value is refused with the fix; the message does not contain it."""
    reason = weakness(value, "collector")
    assert "make secrets" in reason
    assert not value.strip() or value not in reason


@pytest.mark.parametrize("value", ["k3#xY9!", "aaaaaaaaaaaaaaaaaaaa"])
def test_guessable_values_are_refused(value):
    """A short value or one repeated character is refused."""
    assert "too short or too simple" in weakness(value)


def test_generated_values_are_accepted():
    """Values of `make secrets` and of password managers are accepted."""
    assert weakness(secrets.token_hex(24), "collector") is None
    assert weakness("vK9-plum.Harbour", "collector") is None
