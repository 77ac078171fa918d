"""Commands in the documentation: each exists with its options, and a test runs it."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer.main

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {
    name: typer.main.get_command(importlib.import_module(f"{name}.cli").app)
    for name in ("access", "collector", "quality", "simulator", "timescale")
}
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))

INTEGRATION = "tests/integration"
RUN_BY = {
    "access serve": f"{INTEGRATION}/access/test_access.py",
    "access token": f"{INTEGRATION}/docs/test_documented_commands.py",
    "collector archive": f"{INTEGRATION}/collector/archive/test_archive.py",
    "collector archive compact": "tests/unit/collector/archive/test_archive_compact.py",
    "collector archive verify": f"{INTEGRATION}/collector/archive/test_archive_verified_hours.py",
    "collector check": f"{INTEGRATION}/docs/test_documented_commands.py",
    "collector forward": f"{INTEGRATION}/collector/commands/test_kafka_forward.py",
    "collector load": f"{INTEGRATION}/docs/test_documented_commands.py",
    "collector quarantine": f"{INTEGRATION}/collector/store/test_quarantine.py",
    "collector run": f"{INTEGRATION}/collector/commands/test_collector_run.py",
    "quality report": f"{INTEGRATION}/quality/test_quality_command.py",
    "quality scan": f"{INTEGRATION}/quality/test_quality_command.py",
    "simulator run": f"{INTEGRATION}/simulator/test_simulator_publish.py",
    "timescale": f"{INTEGRATION}/docs/test_documented_commands.py",
    "timescale logins": f"{INTEGRATION}/timescale/test_timescale_logins.py",
    "timescale serve": f"{INTEGRATION}/local_services/test_database_server.py",
}
"""Command, or its first words → the test that runs it."""


def texts(page: Path) -> list[str]:
    """Return each command line of a page: in shell blocks, and in code within a line."""
    content = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", content, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", content, flags=re.MULTILINE | re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + [" ".join(text.split()) for text in inline]


def commands(page: Path, *names: str) -> list[list[str]]:
    """Return the words of each command of a page that begins with one of ``names``, without variables before it."""
    command_lines = []
    for line in texts(page):
        for part in re.split(r"&&|\|\||[;|]", line.split(" #")[0]):
            try:
                words = shlex.split(part)
            except ValueError:  # half of a quoted text
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words and words[0].split("/")[-1] in names and not any("…" in word for word in words[:1]):
                command_lines.append([words[0].split("/")[-1], *words[1:]])
    return command_lines


def resolve(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that name a console command, and its options that do not exist."""
    command, path = COMMANDS[words[0]], [words[0]]
    for word in words[1:]:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        path.append(word)
    else:
        return path, []
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    rest = words[len(path) :]
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    if hasattr(command, "commands") and not rest[0].startswith("-"):
        unknown.append(rest[0])
    return path, unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_console_commands_exist(page):
    """Each console command exists with its options."""
    unknown = [words for words in commands(page, *COMMANDS) if len(words) > 1 and resolve(words)[1]]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_make_targets_exist(page):
    """Each target of ``make`` exists."""
    targets = {word for words in commands(page, "make") for word in words[1:] if re.fullmatch(r"[a-z-]+", word)}
    assert targets - TARGETS == set()


def test_every_console_command_is_run_by_a_test():
    """Each console command of the documentation is in the list of tests that run it."""
    written = [words for page in PAGES for words in commands(page, *COMMANDS) if len(words) > 1]
    paths = {" ".join(resolve(words)[0]) for words in written if words[1] not in ("--help", "--version")}
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not any(path.startswith(name) for name in RUN_BY)] == []
    assert [name for name in RUN_BY.values() if not (ROOT / name).exists()] == []


def test_settings_exist():
    """Each variable of the product that a page names is one of .env.example or docker-compose.yml."""
    known = (ROOT / ".env.example").read_text() + (ROOT / "docker-compose.yml").read_text()
    name = re.compile(
        r"\b(?:ACCESS|AIRFLOW|ALERT|ARCHIVE|COLLECTOR|GRAFANA|KAFKA|MQTT|POSTGRES|QUALITY|SIMULATOR|TIMESCALE)"
        r"_[A-Z][A-Z_]*[A-Z]\b"
    )
    shell = {"ACCESS_URL", "ACCESS_TOKEN", "ACCESS_METRICS_TOKEN", "AIRFLOW_HOME", "MQTT_HOSTT"}  # others
    variables = {(page.name, match) for page in PAGES for match in name.findall(page.read_text())}
    assert sorted(pair for pair in variables if pair[1] not in known and pair[1] not in shell) == []
