#!/opt/venv/bin/python
"""Starts `access serve` in its container after storing the token of Prometheus (ACCESS_METRICS_SECRET)."""

import os
import sys

from access.auth.tokens import Token, TokenFile, digest
from access.settings import AccessSettings
from core.errors import WarehouseError
from core.settings import load
from timescale.weak_secrets import weakness

NAME = "prometheus"


def start() -> None:
    """Update the token of Prometheus in the token file and run the server; other tokens stay."""
    secret = os.environ.pop("ACCESS_METRICS_SECRET", "")
    if reason := weakness(secret):
        sys.exit(f"access: ACCESS_METRICS_SECRET: {reason}")
    file = TokenFile(load(AccessSettings).tokens_file)
    token = Token(NAME, frozenset({"metrics"}), digest(secret))
    tokens = file.read()
    if token not in tokens:
        if any(stored.name == NAME for stored in tokens):
            file.remove(NAME)
        file.add(token)
    os.execvp("access", ["access", "serve"])  # noqa: S606 - replaces this process


try:
    start()
except WarehouseError as error:
    sys.exit(f"access: {error}")
