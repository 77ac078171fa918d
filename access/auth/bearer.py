"""Who is asking, and whether they may: bearer tokens (RFC 6750)."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from access.auth import tokens
from access.auth.tokens import SCOPES, Token, TokenError, TokenFile
from access.problems import ProblemError

log = structlog.get_logger()

_BEARER = HTTPBearer(auto_error=False, description="A token, as `access token new` prints it.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


class Gate:
    """Lets requests in whose token is good, ``most`` of each token at a time."""

    def __init__(self, file: TokenFile, most: int) -> None:
        self._file = file
        self._most = most
        self._inside: Counter[str] = Counter()

    def find(self, credentials: HTTPAuthorizationCredentials | None, scope: str) -> Token:
        """Return whose request it is; raises :class:`ProblemError` where it may not do what ``scope`` names."""
        if credentials is None:
            raise ProblemError(
                "no-token",
                "The header Authorization: Bearer <token> is missing.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            known = self._file.current()
        except TokenError as error:
            log.warning("tokens can't be read", reason=str(error))
            known = ()
        token = tokens.find(known, credentials.credentials, tokens.now())
        if token is None:
            raise ProblemError(
                "no-token",
                "The token is not known here, or no longer good.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        if scope not in token.scopes:
            raise ProblemError(
                "not-allowed",
                f"This takes the scope {scope}; the token of {token.name} has {', '.join(sorted(token.scopes))}.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return token

    async def enter(self, token: Token) -> AsyncIterator[Token]:
        """Hold a place while the request lasts, with its answer; raises :class:`ProblemError` where none is free."""
        if self._inside[token.name] >= self._most:
            raise ProblemError(
                "too-many", f"{self._most} requests of {token.name} are being answered.", headers={"Retry-After": "1"}
            )
        self._inside[token.name] += 1
        try:
            yield token
        finally:
            self._inside[token.name] -= 1
            if not self._inside[token.name]:
                del self._inside[token.name]


def needs(scope: str) -> Callable[..., AsyncIterator[Token]]:
    """Return a dependency that yields the token of a request and refuses those without ``scope``."""
    assert scope in SCOPES

    async def gate(request: Request, credentials: Credentials) -> AsyncIterator[Token]:
        found: Gate = request.app.state.gate
        token = found.find(credentials, scope)
        async for one in found.enter(token):
            yield one

    return gate
