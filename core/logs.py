"""Configuration of the log: readable lines on a terminal, JSON otherwise."""

import logging
import sys

import structlog


def configure() -> None:
    """Send structlog's lines to standard error: readable on a terminal, JSON otherwise."""
    human = sys.stderr.isatty()
    renderers: list[structlog.typing.Processor] = [structlog.dev.ConsoleRenderer()]
    if not human:
        renderers = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
