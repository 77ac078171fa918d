"""Bearer tokens (RFC 6750) and their scopes. Only hashes are stored; a token is shown once, when it is created."""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import SettingError

SCOPES = {
    "read": "every GET of data",
    "write": "POST /readings",
    "metrics": "GET /metrics",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sw_"


class TokenError(SettingError):
    """The token file is not valid."""


@dataclass(frozen=True)
class Token:
    """A stored token: name, scopes, SHA-256 and expiry (None: never)."""

    name: str
    scopes: frozenset[str]
    sha256: str
    expires: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Return whether it has not expired at ``now``."""
        return self.expires is None or now < self.expires

    def entry(self) -> dict[str, Any]:
        """Return its entry in the token file."""
        entry: dict[str, Any] = {"name": self.name, "scopes": sorted(self.scopes), "sha256": self.sha256}
        return entry | ({} if self.expires is None else {"expires": self.expires.isoformat()})


def digest(secret: str) -> str:
    """Return the SHA-256 of a token in hexadecimal.

    A slow, salted hash protects passwords that people choose; a token has 256 random bits and can't be guessed.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def issue(name: str, scopes: Iterable[str], expires: datetime | None = None) -> tuple[str, Token]:
    """Create a token; return the secret for its holder and the token to store."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Token(name, frozenset(scopes), digest(secret), expires)


def find(tokens: Sequence[Token], secret: str, now: datetime) -> Token | None:
    """Return the token of ``secret`` if it is valid at ``now``; compares all tokens, each in constant time."""
    secret_hash = digest(secret)
    match = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, secret_hash) and token.is_valid(now):
            match = token
    return match


def parse(text: str, source: str) -> tuple[Token, ...]:
    """Return the tokens in a file's text; raises :class:`TokenError` with every mistake, and no hash in it."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TokenError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, list):
        raise TokenError(f"{source}: expected a list of tokens; `access token new` writes one")
    tokens, mistakes = [], []
    for index, entry in enumerate(document):
        try:
            tokens.append(_token(entry))
        except ValueError as error:
            mistakes.append(f"  /{index}: {error}")
    names = [token.name for token in tokens]
    mistakes += [f"  {name}: duplicate name" for name in sorted({name for name in names if names.count(name) > 1})]
    if mistakes:
        raise TokenError("\n".join([f"{source}: invalid tokens", *mistakes]))
    return tuple(tokens)


def _token(entry: Any) -> Token:
    if not isinstance(entry, dict) or (unknown := set(entry) - {"name", "scopes", "sha256", "expires"}):
        raise ValueError(f"unknown member {min(unknown)!r}" if isinstance(entry, dict) else "expected an object")
    name, scopes, sha256, expires = (entry.get(member) for member in ("name", "scopes", "sha256", "expires"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("name: expected letters, digits and _ . @ - (100 characters at most)")
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise ValueError(f"scopes: expected a list of {', '.join(SCOPES)}")
    if not isinstance(sha256, str) or not _HASH.fullmatch(sha256):
        raise ValueError("sha256: expected 64 hexadecimal digits")
    until = None
    if expires is not None:
        until = datetime.fromisoformat(expires) if isinstance(expires, str) else None
        if until is None or until.tzinfo is None:
            raise ValueError("expires: expected an ISO 8601 time with Z or an offset")
    return Token(name, frozenset(scopes), sha256, until)


class TokenFile:
    """The token file. The server uses changes immediately, without a restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: tuple[Token, ...] = ()
        self._state: tuple[int, int, int] | None = None

    def read(self) -> tuple[Token, ...]:
        """Return the tokens in the file, none if it is missing; raises :class:`TokenError`."""
        try:
            return parse(self.path.read_text(), str(self.path))
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{self.path} can't be read: {error}") from error

    def current(self) -> tuple[Token, ...]:
        """Return the same as :meth:`read`, but read the file only after a change."""
        try:
            stat = self.path.stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            state = (0, 0, 0)
        except OSError as error:
            raise TokenError(f"{self.path} can't be read: {error}") from error
        if state != self._state:
            self._state, self._tokens = None, ()
            self._tokens = self.read()
            self._state = state
        return self._tokens

    def add(self, token: Token) -> None:
        """Add ``token``; raises :class:`TokenError` if its name is taken."""
        with self._locked() as tokens:
            if any(stored.name == token.name for stored in tokens):
                raise TokenError(f"{token.name}: already in {self.path}; run `access token revoke {token.name}` first")
            tokens.append(token)

    def remove(self, name: str) -> None:
        """Remove the token ``name``; raises :class:`TokenError` if there is none."""
        with self._locked() as tokens:
            remaining = [token for token in tokens if token.name != name]
            if len(remaining) == len(tokens):
                raise TokenError(f"{name}: no such token in {self.path}; `access token list` shows them")
            tokens[:] = remaining

    @contextmanager
    def _locked(self) -> Iterator[list[Token]]:
        """Yield the tokens for modification under a lock, then replace the file atomically with mode 0600."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = list(self.read())
            yield tokens
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(json.dumps([token.entry() for token in tokens], indent=2) + "\n")
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise


def now() -> datetime:
    """Return the current time, which decides whether a token has expired."""
    return datetime.now(UTC)
