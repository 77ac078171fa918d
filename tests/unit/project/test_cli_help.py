"""Console commands: everything a user can type has a help text."""

import importlib
from collections.abc import Iterator

import pytest
import typer.main
from typer.testing import CliRunner

COMMANDS = ["access", "collector", "quality", "simulator", "timescale"]


def walk(command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield every command below ``command`` with the words that reach it, itself first."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


def tree(name: str) -> list[tuple[tuple[str, ...], object]]:
    """Return all commands of one console command."""
    return list(walk(typer.main.get_command(importlib.import_module(f"{name}.cli").app), (name,)))


ALL = [pytest.param(path, command, id=" ".join(path)) for name in COMMANDS for path, command in tree(name)]


@pytest.mark.parametrize(("path", "command"), ALL)
def test_command_has_help(path, command):
    """The help of every command begins with a sentence."""
    assert command.help
    assert command.help.strip().splitlines()[0].endswith(".")


@pytest.mark.parametrize(("path", "command"), ALL)
def test_parameters_have_help(path, command):
    """Every option and argument has a help text."""
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


@pytest.mark.parametrize(("path", "command"), ALL)
def test_help_can_be_shown(path, command):
    """``--help`` works for every command, has no side effect and ends with 0."""
    app = importlib.import_module(f"{path[0]}.cli").app
    result = CliRunner().invoke(app, [*path[1:], "--help"], prog_name=path[0])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_public_commands_exist():
    """The public commands exist under their names."""
    names = {" ".join(path) for name in COMMANDS for path, _ in tree(name)}
    assert names >= {
        "timescale serve",
        "timescale migrate",
        "timescale status",
        "simulator run",
        "collector check",
        "collector run",
        "collector archive",
        "collector quarantine list",
        "collector quarantine show",
        "collector quarantine replay",
        "collector quarantine discard",
        "quality scan",
        "quality report",
        "access serve",
        "access token new",
        "access token list",
        "access token revoke",
    }
