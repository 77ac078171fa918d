"""The decoder builder, without a database."""

import json

import pytest

from collector import units
from collector.commands.decoder_builder import DecoderBuilder
from collector.registry import sensors_file, sync
from collector.registry.sync import SyncResult
from collector.settings import CollectorSettings
from collector.store.birth_store import BirthStore


@pytest.mark.parametrize(("form", "loaded"), [("tasmota", 1), ("fields", 0)])
def test_units_are_loaded_before_the_first_message(form, loaded, monkeypatch):
    """Unit definitions, which take seconds to load, are loaded in advance if messages may name units."""
    quantities = {"a": {"unit": "Cel", "interval_seconds": 1}}
    document = {
        "subscribe": ["#"],
        "types": {"k": {"format": form, "quantities": quantities}},
        "sensors": [{"type": "k", "topic": "f/{sensor}", "discover": True, "site": "s", "area": "x"}],
    }
    calls: list[None] = []
    monkeypatch.setattr(units, "ready", lambda: calls.append(None))
    monkeypatch.setattr(sync, "synchronise", lambda *_: SyncResult({}, (), 0, 0, None))
    registry = sensors_file.parse(json.dumps(document).encode())
    DecoderBuilder(CollectorSettings(), BirthStore()).build(None, registry)
    assert len(calls) == loaded
