"""What every console command of the product does at its edges."""

import os
import sys
from typing import Any

import typer
from dotenv import load_dotenv

from core.errors import WarehouseError


def new_app(about: str) -> typer.Typer:
    """Return an empty command-line application; ``about`` is the first line of its help."""
    return typer.Typer(help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run(app: typer.Typer, name: str) -> None:
    """Run ``app`` as console command ``name`` and exit.

    A ``.env`` file in the working directory fills in variables that the environment lacks. A
    :class:`WarehouseError` becomes one message on standard error and its exit status; Ctrl-C becomes 130.
    """
    load_dotenv(".env", override=False)
    try:
        app(prog_name=name)
    except WarehouseError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`… | head`): not an error of ours, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's own word
    """Return a typer option that always has a help text."""
    return typer.Option(*names, help=help, **more)
