"""Console command ``access``."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from access import settings as configuration
from access.auth import tokens
from access.auth.tokens import NAME, SCOPES, TokenFile
from core import logs
from core.console import new_app, option, run
from core.errors import SettingError
from core.settings import load

app = new_app("HTTP: reads what is stored, takes readings.")
token = new_app("Who may ask: bearer tokens. Only their hashes are kept, in ACCESS_TOKENS_FILE.")
app.add_typer(token, name="token")


@app.command()
def serve() -> None:
    """Serve until Ctrl-C or SIGTERM, on 127.0.0.1:8080 unless ACCESS_ADDRESS and ACCESS_PORT say otherwise.

    ACCESS_PORT=0 takes any free port; the first line of the log says which.
    """
    access, mqtt = configuration.load()
    logs.configure()
    from access import server  # noqa: PLC0415 - commands about tokens need none of it

    server.run(access, mqtt)


@token.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Whose it is; one name, one token.")],
    scope: Annotated[
        str, option("--scope", help=f"What it is good for, separated by commas: {', '.join(SCOPES)}.")
    ] = "read",
    days: Annotated[
        int | None, option("--days", min=1, max=36_500, help="Days that it is good for; without it for ever.")
    ] = None,
) -> None:
    """Make a token and print it: this once, since only its hash is kept."""
    scopes = [part.strip() for part in scope.split(",") if part.strip()]
    if unknown := [part for part in scopes if part not in SCOPES]:
        raise SettingError(f"--scope: no such scope {unknown[0]!r}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise SettingError(f"--scope: name one of {', '.join(SCOPES)}")
    if not NAME.fullmatch(name):
        raise SettingError("NAME: letters, digits and _ . @ - (100 at most), and a letter or digit first")
    expires = None if days is None else tokens.now() + timedelta(days=days)
    secret, made = tokens.issue(name, scopes, expires)
    _file().add(made)
    print(secret)


@token.command("list")
def list_() -> None:
    """List the tokens: name, scopes, until when they are good."""
    for one in _file().read():
        until = "for ever" if one.expires is None else f"until {one.expires:%Y-%m-%d %H:%M} UTC"
        print(f"{one.name}  {','.join(sorted(one.scopes))}  {until}{'' if one.good(tokens.now()) else ' (over)'}")


@token.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Whose token it is.")]) -> None:
    """Take a token away; a running server refuses it from the next request on."""
    _file().remove(name)


def _file() -> TokenFile:
    path: Path = load(configuration.AccessSettings).tokens_file
    return TokenFile(path)


def main() -> None:
    """Run the console command."""
    run(app, "access")
