"""The version is defined in pyproject.toml; commands, metrics, HTTP interface and images have the same one."""

import re
import tomllib
from pathlib import Path

import pytest
import structlog
from prometheus_client import generate_latest
from typer.testing import CliRunner

from access.app import create_app
from access.metrics import Metrics as AccessMetrics
from access.settings import AccessSettings
from collector.commands.metrics import Gauges
from collector.commands.program import run_until_signal
from core.settings import MqttSettings
from core.version import VERSION

ROOT = Path(__file__).parents[3]
COMMANDS = ["access", "collector", "quality", "simulator", "timescale"]


def test_version_is_that_of_pyproject():
    """The installed version is the one in pyproject.toml (`make install` after changing it)."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_its_version(name):
    """``--version`` prints name and version, and nothing else happens."""
    app = __import__(f"{name}.cli", fromlist=["app"]).app
    result = CliRunner().invoke(app, ["--version"], prog_name=name)
    assert (result.exit_code, result.output) == (0, f"{name} {VERSION}\n")


@pytest.mark.parametrize("registry", [Gauges().registry, AccessMetrics(lambda: True, lambda: 0).registry])
def test_metrics_have_the_version(registry):
    """``sensor_warehouse_build_info`` has the version as a label, as usual for Prometheus."""
    assert f'sensor_warehouse_build_info{{version="{VERSION}"}} 1.0' in generate_latest(registry).decode()


def test_openapi_has_the_version(tmp_path):
    """The OpenAPI description of the HTTP interface has the version of the product."""
    settings = AccessSettings(tokens_file=tmp_path / "tokens.json")
    assert create_app(settings, MqttSettings())._app.openapi()["info"]["version"] == VERSION


def test_log_begins_with_the_version(monkeypatch):
    """The first log line of a long-running command has the version."""

    class Idle:
        name = "collector"

        def stop(self) -> None:
            """Do nothing."""

        def run(self) -> bool:
            """End at once."""
            return True

    monkeypatch.setattr("signal.signal", lambda *_: None)
    with structlog.testing.capture_logs() as lines:
        assert run_until_signal(Idle()) == 0
    assert lines == [{"event": "starting", "log_level": "info", "program": "collector", "version": VERSION}]


def test_images_have_the_version():
    """The default version label of the images is the version of the product."""
    assert re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == [VERSION]
