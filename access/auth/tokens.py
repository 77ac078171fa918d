"""Bearer tokens (RFC 6750): who may do what. Only hashes are kept; a token is shown once, when it is made."""

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
    """The file of tokens can't be used as it is."""


@dataclass(frozen=True)
class Token:
    """What is known of a token: whose it is, what for, its SHA-256 and until when it is good (None: for ever)."""

    name: str
    scopes: frozenset[str]
    sha256: str
    expires: datetime | None = None

    def good(self, now: datetime) -> bool:
        """Return whether it is still good at ``now``."""
        return self.expires is None or now < self.expires

    def record(self) -> dict[str, Any]:
        """Return what the file says of it."""
        found: dict[str, Any] = {"name": self.name, "scopes": sorted(self.scopes), "sha256": self.sha256}
        return found | ({} if self.expires is None else {"expires": self.expires.isoformat()})


def digest(secret: str) -> str:
    """Return the SHA-256 of a token in hexadecimal.

    No slow hash with a salt: those protect what people choose. Here are 256 random bits, which nobody can try out.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def issue(name: str, scopes: Iterable[str], expires: datetime | None = None) -> tuple[str, Token]:
    """Make a token: the text that its holder sends, and what is kept of it."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Token(name, frozenset(scopes), digest(secret), expires)


def find(tokens: Sequence[Token], secret: str, now: datetime) -> Token | None:
    """Return whose ``secret`` is, if it is good at ``now``; all are compared, each in constant time."""
    given = digest(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, given) and token.good(now):
            found = token
    return found


def parse(text: str, source: str) -> tuple[Token, ...]:
    """Return the tokens in a file's text; raises :class:`TokenError` with every mistake, and no hash in it."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise TokenError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, list):
        raise TokenError(f"{source}: a list of tokens is due; `access token new` writes it")
    tokens, wrong = [], []
    for index, entry in enumerate(document):
        try:
            tokens.append(_token(entry))
        except ValueError as error:
            wrong.append(f"  /{index}: {error}")
    names = [token.name for token in tokens]
    wrong += [f"  {name}: there twice" for name in sorted({name for name in names if names.count(name) > 1})]
    if wrong:
        raise TokenError("\n".join([f"{source}: wrong tokens", *wrong]))
    return tuple(tokens)


def _token(entry: Any) -> Token:
    if not isinstance(entry, dict) or (unknown := set(entry) - {"name", "scopes", "sha256", "expires"}):
        raise ValueError(f"unknown member {min(unknown)!r}" if isinstance(entry, dict) else "no object")
    name, scopes, sha256, expires = (entry.get(member) for member in ("name", "scopes", "sha256", "expires"))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("name: letters, digits and _ . @ - (100 at most)")
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise ValueError(f"scopes: a list of {', '.join(SCOPES)}")
    if not isinstance(sha256, str) or not _HASH.fullmatch(sha256):
        raise ValueError("sha256: 64 hexadecimal digits")
    until = None
    if expires is not None:
        until = datetime.fromisoformat(expires) if isinstance(expires, str) else None
        if until is None or until.tzinfo is None:
            raise ValueError("expires: an ISO 8601 time with Z or an offset")
    return Token(name, frozenset(scopes), sha256, until)


class TokenFile:
    """The file of tokens. What is changed in it holds at once, without a restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: tuple[Token, ...] = ()
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> tuple[Token, ...]:
        """Return what is in the file, nothing where there is none; raises :class:`TokenError`."""
        try:
            return parse(self.path.read_text(), str(self.path))
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{self.path} can't be read: {error}") from error

    def current(self) -> tuple[Token, ...]:
        """Do what :meth:`read` does, anew only when the file has changed."""
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        except FileNotFoundError:
            seen = (0, 0, 0)
        except OSError as error:
            raise TokenError(f"{self.path} can't be read: {error}") from error
        if seen != self._seen:
            self._seen, self._tokens = None, ()
            self._tokens = self.read()
            self._seen = seen
        return self._tokens

    def add(self, token: Token) -> None:
        """Put ``token`` in; raises :class:`TokenError` where its name is taken."""
        with self._changing() as tokens:
            if any(one.name == token.name for one in tokens):
                raise TokenError(f"{token.name}: there is one in {self.path}; `access token revoke {token.name}` first")
            tokens.append(token)

    def remove(self, name: str) -> None:
        """Take the token ``name`` out; raises :class:`TokenError` where there is none."""
        with self._changing() as tokens:
            kept = [one for one in tokens if one.name != name]
            if len(kept) == len(tokens):
                raise TokenError(f"{name}: no such token in {self.path}; `access token list` shows them")
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """Lend what is in the file to be changed; written whole or not at all, readable by its owner alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = list(self.read())
            yield tokens
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(json.dumps([token.record() for token in tokens], indent=2) + "\n")
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise


def now() -> datetime:
    """Return the time by which tokens expire."""
    return datetime.now(UTC)
