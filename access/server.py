"""Serves until somebody ends it."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from access import app
from access.auth.tokens import TokenFile
from access.problems import ServeError
from access.settings import AccessSettings
from core.errors import SettingError
from core.settings import MqttSettings

log = structlog.get_logger()

_GRACE = 10


class _Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM once what is being answered has been, and then returns."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


def run(settings: AccessSettings, mqtt: MqttSettings) -> None:
    """Serve; raises :class:`SettingError` where that can't begin."""
    good = TokenFile(settings.tokens_file).read()
    if not good:
        raise SettingError(
            f"ACCESS_TOKENS_FILE: there is no token in {settings.tokens_file}, so nobody could ask for anything. "
            "Make one: `access token new NAME --scope read,write`."
        )
    served = app.make(settings, mqtt)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    config = uvicorn.Config(
        served,
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
        if settings.in_the_clear:
            log.warning("tokens travel unencrypted beyond this machine: set ACCESS_CERT_FILE, or put TLS in front")
        log.info("serving", address=address, port=port, tokens=len(good))
        server = _Server(config)
        server.run(sockets=[listener])
        if not server.started:
            raise ServeError("the server did not start; its log says why")
    log.info("ended")


def _listen(settings: AccessSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        return socket.create_server((settings.address, settings.port), family=family, backlog=512)
    except OSError as error:
        where = f"{settings.address}:{settings.port}"
        raise SettingError(
            f"ACCESS_ADDRESS, ACCESS_PORT: nothing can be served on {where}: {error.strerror}. Choose others."
        ) from error
