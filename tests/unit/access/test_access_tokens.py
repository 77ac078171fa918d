"""Tokens of the HTTP interface: only hashes are kept, and what is taken away is gone."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from access import cli
from access.auth import tokens
from access.auth.tokens import TokenError, TokenFile, find, issue, parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run ``access token …`` with a file of its own."""
    monkeypatch.setenv("ACCESS_TOKENS_FILE", str(tmp_path / "tokens.json"))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, ["token", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output.strip()

    return run


def test_a_token_is_found_by_its_secret_alone():
    """Its holder's secret finds it; no other text does, its hash and its name among them."""
    secret, token = issue("bi", ["read"])
    _, other = issue("device", ["write"])
    assert find([other, token], secret, NOW) == token
    for wrong in ("", token.sha256, "bi", secret[:-1], secret + "x", secret.upper(), "\ud800"):
        assert find([other, token], wrong, NOW) is None


def test_secrets_can_not_be_guessed():
    """256 random bits, and no two alike."""
    made = {issue("x", ["read"])[0] for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(secret) == len("sw_") + 43 for secret in made)


def test_a_token_ends_when_it_expires():
    """It is good until just before, and not from then on."""
    secret, token = issue("bi", ["read"], NOW)
    assert find([token], secret, NOW - timedelta(microseconds=1)) == token
    assert find([token], secret, NOW) is None


def test_the_file_holds_no_secret_and_is_its_owners(command, tmp_path):
    """``token new`` prints the token once; the file, with mode 0600, has its hash only, and so has ``token list``."""
    secret = command("new", "bi", "--scope", "read,metrics", "--days", "30")
    file = tmp_path / "tokens.json"
    assert secret.startswith("sw_")
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = command("list")
    assert listed.startswith("bi  metrics,read  until ")
    assert secret not in listed
    assert find(TokenFile(file).read(), secret, tokens.now()).scopes == {"read", "metrics"}


def test_a_revoked_token_is_gone(command, tmp_path):
    """From ``token revoke`` on it finds nothing, also for who has read the file before; the others stay."""
    file = TokenFile(tmp_path / "tokens.json")
    kept, gone = command("new", "kept"), command("new", "gone")
    assert find(file.current(), gone, tokens.now())
    command("revoke", "gone")
    assert find(file.current(), gone, tokens.now()) is None
    assert find(file.current(), kept, tokens.now())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "bi"], "`access token revoke bi` first"),
        (["new", "a b"], "letters, digits"),
        (["new", "x", "--scope", "admin"], "no such scope 'admin'; there are read, write, metrics"),
        (["new", "x", "--scope", ","], "name one of read"),
        (["revoke", "nobody"], "`access token list` shows them"),
    ],
)
def test_mistakes_are_told_with_their_mend(command, arguments, said):
    """A taken or wrong name, an unknown scope, a token that isn't there: what is wrong, and what to do."""
    command("new", "bi")
    with pytest.raises(tokens.SettingError) as caught:
        command(*arguments)
    assert said in str(caught.value)


GOOD = {"name": "bi", "scopes": ["read"], "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "a list of tokens is due"),
        ([5], "/0: no object"),
        ([GOOD | {"colour": 1}], "/0: unknown member 'colour'"),
        ([GOOD | {"name": ""}], "/0: name"),
        ([GOOD | {"scopes": []}], "/0: scopes"),
        ([GOOD | {"scopes": ["admin"]}], "/0: scopes"),
        ([GOOD | {"scopes": "read"}], "/0: scopes"),
        ([GOOD | {"sha256": "plain"}], "/0: sha256"),
        ([GOOD | {"expires": "tomorrow"}], "Invalid isoformat"),
        ([GOOD | {"expires": "2026-03-01"}], "/0: expires"),
        ([GOOD, GOOD], "bi: there twice"),
    ],
)
def test_a_broken_file_is_refused(entries, said):
    """What is no token is told by its place, with the file's name; nothing of it counts."""
    with pytest.raises(TokenError, match=r"tokens\.json") as caught:
        parse(json.dumps(entries), "tokens.json")
    assert said in str(caught.value)


def test_a_file_that_breaks_lets_nobody_in(tmp_path):
    """Tokens read before count no longer once the file can't be read, until it is mended."""
    file = TokenFile(tmp_path / "tokens.json")
    secret, token = issue("bi", ["read"])
    file.add(token)
    assert find(file.current(), secret, NOW)
    good = file.path.read_text()
    file.path.write_text("[")
    for _ in range(2):
        with pytest.raises(TokenError):
            file.current()
    file.path.write_text(good)
    assert find(file.current(), secret, NOW)
    file.path.unlink()
    assert file.current() == ()
