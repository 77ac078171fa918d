"""What a running collector does about its registry, without a database."""

import json

import pytest

from collector import units
from collector.commands.run import RegistryWatch
from collector.registry import sync
from collector.registry.sync import SyncResult
from collector.settings import CollectorSettings


@pytest.mark.parametrize(("form", "loaded"), [("tasmota", 1), ("fields", 0)])
def test_units_are_loaded_before_messages_come(form, loaded, tmp_path, monkeypatch):
    """What takes seconds to load is there before the first message whose unit has to be converted waits for it."""
    quantities = {"a": {"unit": "Cel", "interval_seconds": 1}}
    document = {
        "subscribe": ["#"],
        "types": {"k": {"format": form, "quantities": quantities}},
        "sensors": [{"type": "k", "topic": "f/{sensor}", "discover": True, "site": "s", "area": "x"}],
    }
    path = tmp_path / "sensors.json"
    path.write_text(json.dumps(document))
    asked: list[None] = []
    monkeypatch.setattr(units, "ready", lambda: asked.append(None))
    monkeypatch.setattr(sync, "synchronise", lambda *_: SyncResult({}, (), 0, 0, None))
    RegistryWatch(CollectorSettings(registry=path)).synchronise(None)
    assert len(asked) == loaded
