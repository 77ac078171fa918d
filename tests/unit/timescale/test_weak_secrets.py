"""What counts as a secret."""

import secrets

import pytest

from timescale.weak_secrets import weakness


@pytest.mark.parametrize(
    "value",
    ["", "  ", "changeme", "CHANGE-ME-PLEASE", "password12345", "example-of-a-secret", "<your password>", "collector"],
)
def test_nothing_and_examples_are_refused(value):
    """An empty value or a word of the documentation is refused with the mend, and is not repeated."""
    said = weakness(value, "collector")
    assert "make secrets" in said
    assert not value.strip() or value not in said


@pytest.mark.parametrize("value", ["k3#xY9!", "aaaaaaaaaaaaaaaaaaaa"])
def test_what_can_be_guessed_is_refused(value):
    """Neither a short one nor one character many times will do."""
    assert "too short or too simple" in weakness(value)


def test_what_is_made_will_do():
    """What `make secrets` makes, and what people's password managers make, is taken."""
    assert weakness(secrets.token_hex(24), "collector") is None
    assert weakness("vK9-plum.Harbour", "collector") is None
