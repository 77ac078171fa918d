"""Which messages replace the value of an earlier one with the same time: by format, or as sensors.json sets it."""

import json

import pytest

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file
from collector.registry.sensors_file import RegistryError

NOW = 1_772_366_400_000_000


def registry(form: object, **more: str) -> sensors_file.Registry:
    """Return a registry of one sensor ``a`` with quantity ``t`` in format ``form``."""
    kind = {"format": form, "quantities": {"t": {"unit": "Cel", "interval_seconds": 1}}, **more}
    entry = {"sensor_id": "a", "type": "k", "site": "s", "area": "a", "topic": "x/a"}
    return sensors_file.parse(json.dumps({"subscribe": ["#"], "types": {"k": kind}, "sensors": [entry]}).encode())


def replaces(form: object, **more: str) -> bool:
    """Return what a message of ``form`` says about earlier values of the same time."""
    payload = b'{"t": 21.5, "timestamp": "2026-03-01T12:00:00Z"}'
    return Decoder(registry(form, **more), {("a", "t"): 1}).decode(Message("x/a", payload, NOW)).replaces


@pytest.mark.parametrize(("form", "is_state"), [("zigbee2mqtt", True), ("fields", False), ("thingsboard", False)])
def test_by_format(form, is_state) -> None:
    """A format that publishes states replaces the value of an equal time; formats of events keep the first value."""
    assert replaces(form) is is_state


def test_fast_path() -> None:
    """A message of one value that takes the fast path says the same."""
    assert replaces("fields", equal_times="replace")
    many = b'[{"t": 1, "timestamp": "2026-03-01T12:00:00Z"}, {"t": 2, "timestamp": "2026-03-01T12:00:01Z"}]'
    decoder = Decoder(registry("fields", equal_times="replace"), {("a", "t"): 1})
    assert decoder.decode(Message("x/a", many, NOW)).replaces


@pytest.mark.parametrize(("setting", "is_state"), [("replace", True), ("keep", False)])
def test_by_type(setting, is_state) -> None:
    """A type's ``equal_times`` overrides its format."""
    assert replaces("zigbee2mqtt", equal_times=setting) is is_state


def test_types_of_one_topic() -> None:
    """Sensors that share a topic have the same rule, as one message holds readings of all of them."""
    kinds = {
        name: {"equal_times": setting, "quantities": {"t": {"unit": "Cel", "interval_seconds": 1}}}
        for name, setting in (("k", "keep"), ("r", "replace"))
    }
    entries = [
        {"sensor_id": name, "type": name, "site": "s", "area": "a", "topic": "x", "device": name} for name in kinds
    ]
    document = {"subscribe": ["#"], "types": kinds, "sensors": entries}
    with pytest.raises(RegistryError, match="the same equal_times"):
        sensors_file.parse(json.dumps(document).encode())
