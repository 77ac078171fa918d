"""Console command ``quality``: runs scans and shows their results."""

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

_USAGE_ERROR = 2


class _Commands(typer.core.TyperGroup):
    """Commands whose usage errors end with 3 (could not be scanned), because 2 means that a scan warned."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _usage_error_status():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _usage_error_status():
            return super().invoke(ctx)


app = console.new_app("Data quality: run scans, show their results.")
app.info.cls = _Commands

Contracts = Annotated[list[str] | None, option("--contract", help="Name of a contract; repeatable. Default: all.")]


@app.command("scan")
def scan_(
    contract: Contracts = None,
    show_all: Annotated[bool, option("--all", help="Also show the checks that passed.")] = False,  # noqa: FBT002
) -> None:
    """Run the contracts, store and print the results, send notifications of new failures and recoveries.

    Exit status 0: passed, 1: failed, 2: warned, 3: the scan, or a part of it, could not run,
    4: there are no readings to check.
    """
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    with _as_scan_error():
        from quality.scan import scan  # noqa: PLC0415 - Soda takes a second to import

        result = scan(contract)
    print(result.text(show_all=show_all))
    raise typer.Exit(result.exit_status)


@app.command("report")
def report_(contract: Contracts = None) -> None:
    """Show the last result of every check, its trend, and the open incidents."""
    from quality import report  # noqa: PLC0415 - as above
    from quality.alerts import incidents  # noqa: PLC0415

    with _as_scan_error():
        names = [path.stem for path in contracts.paths(contract)]
        with connect(application_name="quality-report") as connection:
            incidents.require_schema(connection)
            print(report.read(connection, names).text())


@contextmanager
def _as_scan_error() -> Iterator[None]:
    """Convert every error to :class:`ScanError`, whose exit status is 3."""
    try:
        yield
    except ScanError:
        raise
    except WarehouseError as error:
        raise ScanError(str(error)) from error


@contextmanager
def _usage_error_status() -> Iterator[None]:
    """Give usage errors of the command line the exit status of :class:`ScanError`."""
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if getattr(error, "exit_code", None) == _USAGE_ERROR:
            error.exit_code = ScanError.exit_status  # type: ignore[attr-defined]
        raise


def main() -> None:
    """Run the console command."""
    console.run(app, "quality")
