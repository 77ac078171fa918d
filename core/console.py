"""Start and end of every console command: ``.env``, help, errors, exit status."""

import os
import sys
from pathlib import Path
from typing import Any

import typer
from dotenv import load_dotenv

from core.errors import WarehouseError

DOTENV = Path(".env")
"""Settings file that every command reads in its working directory."""


def new_app(about: str) -> typer.Typer:
    """Return an empty command-line application; ``about`` is the first line of its help."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run(app: typer.Typer, name: str) -> None:
    """Run ``app`` as console command ``name`` and exit.

    A ``.env`` file in the working directory sets variables that the environment lacks. A :class:`WarehouseError`
    becomes one message on standard error and its exit status; Ctrl-C becomes exit status 130.
    """
    load_dotenv(DOTENV, override=False)
    try:
        app(prog_name=name)
    except WarehouseError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has exited (`… | head`): no error, and no further output is possible.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's name for it
    """Return a typer option that always has a help text."""
    return typer.Option(*names, help=help, **more)
