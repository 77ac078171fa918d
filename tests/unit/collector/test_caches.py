"""Caches keyed by texts of devices are bounded in number and in bytes."""

import functools
import gc
import json
import tracemalloc

import pytest

from collector import units
from collector.cli import app  # noqa: F401 - imports the modules with caches
from collector.commands import load  # noqa: F401
from collector.formats import influx, senml, tasmota
from collector.formats.measurement import Topic
from collector.formats.sparkplug import nodes
from collector.message import Message, NoReadingError, UndecodableError

REVIEWED = {
    "collector.units._conversion": "units of devices: 40 characters",
    "collector.units._line": "units of devices: 40 characters",
    "collector.units._registry": "no key",
    "collector.units._parses": "units of the registry",
    "collector.formats.senml._split": "names of devices: 500 characters each",
    "collector.formats.tasmota._cached_unit_member": "names of devices, bounded before",
    "collector.formats.influx._series": "beginnings of lines, bounded before",
    "collector.formats.sparkplug.nodes._place": "topics: 300 characters",
    "collector.formats.measurement.unit_names": "members of the registry",
    "collector.files.columns.time_columns._offsets": "zones of the registry, minutes",
    "collector.files.columns.time_columns._places": "options of the user",
}
"""Each cache of the collector and what bounds the size of its keys."""


def test_every_cache_is_reviewed():
    """A cache that is added here has keys of bounded size: a device can send any number of texts of 4 MB."""
    caches = {
        f"{cached.__module__}.{cached.__qualname__}"
        for cached in gc.get_objects()
        if isinstance(cached, functools._lru_cache_wrapper) and cached.__module__.startswith("collector.")
    }
    assert {name for name in caches if "<locals>" not in name} == set(REVIEWED)


def messages(text: str) -> list[tuple[object, Message]]:
    """Return messages of several formats with ``text`` in place of names and units."""
    pack = [{"bn": text, "n": text, "u": text, "v": 1}]
    names = {"Time": "2026-01-01T00:00:00", text: {"Temperature": 1}, "TempUnit": text}
    return [
        (senml.SenmlFormat(), Message("a", json.dumps(pack).encode(), 1)),
        (tasmota.TasmotaFormat(), Message("tele/a/SENSOR", json.dumps(names).encode(), 1)),
        (influx.InfluxFormat(), Message("a", f"{text},tag={text} value=1".encode(), 1)),
    ]


@pytest.mark.parametrize("number", range(3), ids=["senml", "tasmota", "influx"])
def test_long_texts_are_not_kept(number):
    """Sixty messages with names of a megabyte each leave nothing in memory."""
    readers = [form.reader() for form, _ in messages("x")]

    def read(index: int) -> None:
        message = messages(f"{index}" + "x" * 1_000_000)[number][1]
        try:
            list(readers[number].read(message, Topic({"#": ""})))
        except (UndecodableError, NoReadingError):
            return

    read(0)
    gc.collect()
    tracemalloc.start()
    try:
        for index in range(60):
            read(index)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()


def test_long_units_and_topics_are_not_kept():
    """Units and topics of a megabyte each leave nothing in memory."""
    tracemalloc.start()
    try:
        for index in range(60):
            text = f"{index}" + "x" * 1_000_000
            with pytest.raises(ValueError, match="no conversion"):
                units.conversion(text, "Cel")
            with pytest.raises(UndecodableError):
                nodes.place(text)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()
