"""``quality``: scans what people rely on, and shows what was found."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import structlog
import typer
import typer.core

from core import console
from core.console import option
from core.database import connect
from core.errors import WarehouseError
from quality import contracts
from quality.errors import ScanError

_WRONG_COMMAND_LINE = 2


class _Commands(typer.core.TyperGroup):
    """Commands whose wrong use ends like a scan that could not be made: 2 says that a scan warned."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _not_a_warning():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _not_a_warning():
            return super().invoke(ctx)


app = console.new_app("The quality of what is stored: scan it, look at what was found.")
app.info.cls = _Commands

Contracts = Annotated[
    list[str] | None, option("--contract", help="Name of a contract, as often as you like; without it all.")
]


@app.command("scan")
def scan_(
    contract: Contracts = None,
    everything: Annotated[bool, option("--all", help="Show the checks that passed as well.")] = False,  # noqa: FBT002
) -> None:
    """Run the contracts, store what they find, tell people what is new; print it all.

    Ends with 0: passed, 1: failed, 2: warned, 3: the scan, or a part of it, could not be made.
    """
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    with _could_not():
        from quality.scan import scan  # noqa: PLC0415 - Soda takes a second to import

        found = scan(contract)
    print(found.text(everything=everything))
    raise typer.Exit(found.exit_status)


@app.command("report")
def report_(contract: Contracts = None) -> None:
    """Show the last result of every check, how it was before, and what is open."""
    from quality import report  # noqa: PLC0415 - as above
    from quality.alerts import incidents  # noqa: PLC0415

    with _could_not():
        names = [path.stem for path in contracts.chosen(contract)]
        with connect(application_name="quality-report") as connection:
            incidents.require(connection)
            print(report.read(connection, names).text())


@contextmanager
def _could_not() -> Iterator[None]:
    """Let every error end as a scan that could not be made."""
    try:
        yield
    except ScanError:
        raise
    except WarehouseError as error:
        raise ScanError(str(error)) from error


@contextmanager
def _not_a_warning() -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if getattr(error, "exit_code", None) == _WRONG_COMMAND_LINE:
            error.exit_code = ScanError.exit_status  # type: ignore[attr-defined]
        raise


def main() -> None:
    """Run the console command."""
    console.run(app, "quality")
