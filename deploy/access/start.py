#!/opt/venv/bin/python
"""Starts `access serve` in its container, having given Prometheus its token: that of ACCESS_METRICS_SECRET."""

import os
import sys

from access.auth.tokens import Token, TokenFile, digest
from access.settings import AccessSettings
from core.errors import WarehouseError
from core.settings import load
from timescale.weak_secrets import weakness

NAME = "prometheus"


def start() -> None:
    """Bring the file of tokens up to date and become the server; other tokens stay."""
    secret = os.environ.pop("ACCESS_METRICS_SECRET", "")
    if why := weakness(secret):
        sys.exit(f"access: ACCESS_METRICS_SECRET: {why}")
    file = TokenFile(load(AccessSettings).tokens_file)
    wanted = Token(NAME, frozenset({"metrics"}), digest(secret))
    tokens = file.read()
    if wanted not in tokens:
        if any(token.name == NAME for token in tokens):
            file.remove(NAME)
        file.add(wanted)
    os.execvp("access", ["access", "serve"])  # noqa: S606 - it takes this process' place


try:
    start()
except WarehouseError as error:
    sys.exit(f"access: {error}")
