"""Runs the HTTP server until SIGINT or SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import cast

import structlog
import uvicorn

from access import app
from access.auth.tokens import TokenFile
from access.connections import ConnectionLimit, allowed
from access.problems import ServeError
from access.settings import AccessSettings
from core.errors import SettingError
from core.settings import MqttSettings
from core.version import VERSION

log = structlog.get_logger()

_GRACE = 10


class _Server(uvicorn.Server):
    """Stops on SIGINT and SIGTERM after the requests in progress, and then returns instead of raising."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._request_exit)
        yield

    def _request_exit(self) -> None:
        self.should_exit = True


def run(settings: AccessSettings, mqtt: MqttSettings) -> None:
    """Serve until stopped; raises :class:`SettingError` if the server can't start."""
    tokens = TokenFile(settings.tokens_file).read()
    if not tokens:
        raise SettingError(
            f"ACCESS_TOKENS_FILE: {settings.tokens_file} has no token, so every request would be refused. "
            "Create one: `access token new NAME --scope read,write`."
        )
    application = app.create_app(settings, mqtt)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    limit = ConnectionLimit(allowed(settings.max_connections))
    config = uvicorn.Config(
        application,
        # uvicorn calls it as it calls a class of its own.
        http=cast(type[asyncio.Protocol], limit.protocol),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=settings.cert_file,
        ssl_keyfile=settings.key_file,
    )
    with _listen(settings) as listener:
        address, port = listener.getsockname()[:2]
        if settings.is_unencrypted:
            log.warning(
                "tokens are sent unencrypted over the network: set ACCESS_CERT_FILE, or use a reverse proxy with TLS"
            )
        log.info("serving", version=VERSION, address=address, port=port, tokens=len(tokens))
        server = _Server(config)
        server.run(sockets=[listener])
        if not server.started:
            raise ServeError("the server did not start; see its log")
    log.info("stopped")


def _listen(settings: AccessSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        return socket.create_server((settings.address, settings.port), family=family, backlog=512)
    except OSError as error:
        where = f"{settings.address}:{settings.port}"
        raise SettingError(
            f"ACCESS_ADDRESS, ACCESS_PORT: cannot listen on {where}: {error.strerror}. Choose another address or port."
        ) from error
