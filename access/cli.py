"""Console command ``access``."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from access import settings as access_settings
from access.auth import tokens
from access.auth.tokens import NAME, SCOPES, TokenFile
from core import logs
from core.console import new_app, new_group, option, run
from core.errors import SettingError
from core.settings import load

app = new_app("HTTP interface: reads stored data, accepts readings.")
token = new_group("Bearer tokens of clients. ACCESS_TOKENS_FILE stores only their hashes.")
app.add_typer(token, name="token")


@app.command()
def serve() -> None:
    """Serve until Ctrl-C or SIGTERM, on ACCESS_ADDRESS and ACCESS_PORT (default: 127.0.0.1:8080).

    ACCESS_PORT=0 uses any free port; the first line of the log shows it.
    """
    settings = access_settings.load()
    logs.configure()
    from access import server  # noqa: PLC0415 - the token commands do not need it

    server.run(settings.access, settings.mqtt)


@token.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Token name (unique).")],
    scope: Annotated[str, option("--scope", help=f"Scopes, separated by commas: {', '.join(SCOPES)}.")] = "read",
    days: Annotated[
        int | None, option("--days", min=1, max=36_500, help="Days until the token expires. Default: never.")
    ] = None,
) -> None:
    """Create a token and print it; it can't be shown again, because only its hash is stored."""
    scopes = [part.strip() for part in scope.split(",") if part.strip()]
    if unknown := [part for part in scopes if part not in SCOPES]:
        raise SettingError(f"--scope: unknown scope {unknown[0]!r}; choose from {', '.join(SCOPES)}")
    if not scopes:
        raise SettingError(f"--scope: choose at least one of {', '.join(SCOPES)}")
    if not NAME.fullmatch(name):
        raise SettingError(
            "NAME: use letters, digits and _ . @ - (100 characters at most), starting with a letter or digit"
        )
    expires = None if days is None else tokens.now() + timedelta(days=days)
    secret, new_token = tokens.issue(name, scopes, expires)
    _token_file().add(new_token)
    print(secret)


@token.command("list")
def list_() -> None:
    """List the tokens: name, scopes, expiry."""
    for listed in _token_file().read():
        expiry = "never expires" if listed.expires is None else f"until {listed.expires:%Y-%m-%d %H:%M} UTC"
        expired = "" if listed.is_valid(tokens.now()) else " (expired)"
        print(f"{listed.name}  {','.join(sorted(listed.scopes))}  {expiry}{expired}")


@token.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Token name.")]) -> None:
    """Revoke a token; a running server refuses it from the next request on."""
    _token_file().remove(name)


def _token_file() -> TokenFile:
    path: Path = load(access_settings.AccessSettings).tokens_file
    return TokenFile(path)


def main() -> None:
    """Run the console command."""
    run(app, "access")
