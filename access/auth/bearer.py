"""Authentication and authorization of requests by bearer token (RFC 6750)."""

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

_BEARER = HTTPBearer(auto_error=False, description="A token printed by `access token new`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


class TokenGate:
    """Admits requests with a valid token, at most ``limit`` per token at the same time."""

    def __init__(self, file: TokenFile, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._active: Counter[str] = Counter()

    def authorize(self, credentials: HTTPAuthorizationCredentials | None, scope: str) -> Token:
        """Return the token of a request; raises :class:`ProblemError` if it is not valid or lacks ``scope``."""
        if credentials is None:
            raise ProblemError(
                "no-token",
                "The header Authorization: Bearer <token> is missing.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        try:
            valid_tokens = self._file.current()
        except TokenError as error:
            log.warning("token file can't be read", reason=str(error))
            valid_tokens = ()
        token = tokens.find(valid_tokens, credentials.credentials, tokens.now())
        if token is None:
            raise ProblemError(
                "no-token",
                "The token is unknown, revoked or expired.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        if scope not in token.scopes:
            raise ProblemError(
                "not-allowed",
                f"The scope {scope} is required; the token {token.name} has {', '.join(sorted(token.scopes))}.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return token

    async def admit(self, token: Token) -> AsyncIterator[Token]:
        """Count the request as active until its response ends; raises :class:`ProblemError` above the limit."""
        if self._active[token.name] >= self._limit:
            raise ProblemError(
                "too-many",
                f"{self._limit} requests of the token {token.name} are in progress.",
                headers={"Retry-After": "1"},
            )
        self._active[token.name] += 1
        try:
            yield token
        finally:
            self._active[token.name] -= 1
            if not self._active[token.name]:
                del self._active[token.name]


def require_scope(scope: str) -> Callable[..., AsyncIterator[Token]]:
    """Return a dependency that yields the token of a request; it refuses requests without ``scope``."""
    assert scope in SCOPES

    async def check(request: Request, credentials: Credentials) -> AsyncIterator[Token]:
        gate: TokenGate = request.app.state.gate
        token = gate.authorize(credentials, scope)
        async for admitted in gate.admit(token):
            yield admitted

    return check
