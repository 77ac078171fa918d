"""Start and end of every console command: ``.env``, help, errors, exit status."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import load_dotenv

from core.errors import WarehouseError
from core.version import VERSION

DOTENV = Path(".env")
"""Settings file that every command reads in its working directory."""


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's name for it
    """Return a typer option that always has a help text."""
    return typer.Option(*names, help=help, **more)


def new_app(about: str) -> typer.Typer:
    """Return an empty command-line application with ``--version``; ``about`` is the first line of its help."""
    app = new_group(about)

    @app.callback()
    def _root(
        version: Annotated[  # noqa: FBT002 - an option
            bool, option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        assert not version  # the callback has exited

    return app


def new_group(about: str) -> typer.Typer:
    """Return an empty group of commands; ``about`` is the first line of its help."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(context: typer.Context, value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        print(f"{context.find_root().info_name} {VERSION}")
        raise typer.Exit


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
