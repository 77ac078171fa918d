"""The registry file while a program runs."""

import os

import pytest
from fix_collector import registry_text
from structlog.testing import capture_logs

from collector.commands import registry_watch
from collector.commands.registry_watch import RegistryWatch
from collector.settings import CollectorSettings


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return a registry file, which is checked at every call."""
    monkeypatch.setattr(registry_watch, "_INTERVAL_SECONDS", 0)
    path = tmp_path / "sensors.json"
    path.write_bytes(registry_text("a", 1))
    return path


def test_changed_file_comes_into_force(path):
    """A changed file is reported once and is then the registry in force."""
    watch = RegistryWatch(CollectorSettings(registry=path))
    assert not watch.changed()
    path.write_bytes(registry_text("a", 20))
    assert watch.changed()
    assert len(watch.registry.sensors) == 20
    assert not watch.changed()


def test_file_with_mistakes_changes_nothing(path):
    """The mistakes of a file are logged once, and the registry in force stays."""
    watch = RegistryWatch(CollectorSettings(registry=path))
    path.write_bytes(b"{}")
    with capture_logs() as logs:
        assert not watch.changed()
        assert not watch.changed()
    assert [line["event"] for line in logs] == ["registry has mistakes; the one in force stays"]
    assert len(watch.registry.sensors) == 1


def test_failed_change_is_reported_again(path):
    """A change that could not be applied is reported again, although the file stays the same."""
    watch = RegistryWatch(CollectorSettings(registry=path))
    path.write_bytes(registry_text("a", 20))
    assert watch.changed()
    watch.retry()
    assert watch.changed()
    assert not watch.changed()


def test_rewritten_file_without_changes(path):
    """A file that was written again with the same content is no change; neither is one that is missing."""
    watch = RegistryWatch(CollectorSettings(registry=path))
    os.utime(path, ns=(1, 1))
    assert not watch.changed()
    path.unlink()
    assert not watch.changed()
