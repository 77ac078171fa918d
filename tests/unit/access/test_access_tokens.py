"""Tokens of the HTTP interface: only hashes are stored, and revoked tokens are refused."""

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
    """Run ``access token …`` with a temporary token file."""
    monkeypatch.setenv("ACCESS_TOKENS_FILE", str(tmp_path / "tokens.json"))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(cli.app, ["token", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output.strip()

    return run


def test_a_token_is_found_only_by_its_secret():
    """Neither its hash nor its name nor another text finds it."""
    secret, token = issue("bi", ["read"])
    _, other = issue("device", ["write"])
    assert find([other, token], secret, NOW) == token
    for other_text in ("", token.sha256, "bi", secret[:-1], secret + "x", secret.upper(), "\ud800"):
        assert find([other, token], other_text, NOW) is None


def test_secrets_are_random():
    """A secret has 256 random bits, and no two are equal."""
    secrets = {issue("x", ["read"])[0] for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(len(secret) == len("sw_") + 43 for secret in secrets)


def test_a_token_expires():
    """It is valid until just before its expiry, and not from then on."""
    secret, token = issue("bi", ["read"], NOW)
    assert find([token], secret, NOW - timedelta(microseconds=1)) == token
    assert find([token], secret, NOW) is None


def test_token_file_has_no_secrets_and_mode_0600(command, tmp_path):
    """``token new`` prints the secret; neither the file nor ``token list`` contains it."""
    secret = command("new", "bi", "--scope", "read,metrics", "--days", "30")
    file = tmp_path / "tokens.json"
    assert secret.startswith("sw_")
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = command("list")
    assert listed.startswith("bi  metrics,read  until ")
    assert secret not in listed
    assert find(TokenFile(file).read(), secret, tokens.now()).scopes == {"read", "metrics"}


def test_a_revoked_token_is_refused(command, tmp_path):
    """After ``token revoke`` a file object that had read the token refuses it; other tokens stay valid."""
    file = TokenFile(tmp_path / "tokens.json")
    valid, revoked = command("new", "valid"), command("new", "revoked")
    assert find(file.current(), revoked, tokens.now())
    command("revoke", "revoked")
    assert find(file.current(), revoked, tokens.now()) is None
    assert find(file.current(), valid, tokens.now())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "bi"], "`access token revoke bi` first"),
        (["new", "a b"], "letters, digits"),
        (["new", "x", "--scope", "admin"], "unknown scope 'admin'; choose from read, write, metrics"),
        (["new", "x", "--scope", ","], "choose at least one of read"),
        (["revoke", "unknown"], "`access token list` shows them"),
    ],
)
def test_errors_name_the_fix(command, arguments, message):
    """A used or invalid name, an unknown scope and an unknown token give an error with the fix."""
    command("new", "bi")
    with pytest.raises(tokens.SettingError) as caught:
        command(*arguments)
    assert message in str(caught.value)


GOOD = {"name": "bi", "scopes": ["read"], "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "expected a list of tokens"),
        ([5], "/0: expected an object"),
        ([GOOD | {"colour": 1}], "/0: unknown member 'colour'"),
        ([GOOD | {"name": ""}], "/0: name"),
        ([GOOD | {"scopes": []}], "/0: scopes"),
        ([GOOD | {"scopes": ["admin"]}], "/0: scopes"),
        ([GOOD | {"scopes": "read"}], "/0: scopes"),
        ([GOOD | {"sha256": "plain"}], "/0: sha256"),
        ([GOOD | {"expires": "tomorrow"}], "Invalid isoformat"),
        ([GOOD | {"expires": "2026-03-01"}], "/0: expires"),
        ([GOOD, GOOD], "bi: duplicate name"),
    ],
)
def test_invalid_file_is_refused(entries, message):
    """The error names the file and the place of each invalid token."""
    with pytest.raises(TokenError, match=r"tokens\.json") as caught:
        parse(json.dumps(entries), "tokens.json")
    assert message in str(caught.value)


def test_unreadable_file_invalidates_all_tokens(tmp_path):
    """Tokens read before are not used while the file can't be read."""
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
