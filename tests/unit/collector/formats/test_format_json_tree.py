"""JSON trees as names and values."""

import pytest

from collector.formats import json_tree
from collector.formats.measurement import Measurement
from collector.message import NoReadingError, UndecodableError


def test_leaves():
    """Names are joined by slashes, list items named by index; null and empty containers are skipped."""
    document = {"a": 1, "b": {"c": [2.5, {"d": True}, None], "e": {}}, "f": None, "g": "on", "": {"": 0}}
    assert json_tree.leaves(document) == [("a", 1), ("b/c/0", 2.5), ("b/c/1/d", True), ("g", "on"), ("/", 0)]


def test_prefix():
    """The prefix is put before each name."""
    assert json_tree.leaves([1, 2], "x/") == [("x/0", 1), ("x/1", 2)]


def test_measurements():
    """Measurements are the leaves, each with the common time and device, and the unit of its last step."""
    document = {"a": {"tC": 1.5, "x": None}, "b": [True, {"tC": "cold"}]}
    assert json_tree.measurements(document, "x/", (5, None), "d", {"tC": "Cel"}) == [
        Measurement("x/a/tC", 1.5, 5, "Cel", "d"),
        Measurement("x/b/0", True, 5, None, "d"),
        Measurement("x/b/1/tC", "cold", 5, "Cel", "d"),
    ]


TEXTS = [
    (b"ON", "ON"),
    (b"21.5", 21.5),
    (b"true", True),
    (b'"ON"', "ON"),
    ("Küche".encode(), "Küche"),
    (b"1,2,3", "1,2,3"),
    (b"{}", {}),
]


@pytest.mark.parametrize(("payload", "expected"), TEXTS)
def test_load_or_text(payload, expected):
    """A payload that is not JSON is the text of a state."""
    assert json_tree.load_or_text(payload) == expected


@pytest.mark.parametrize("payload", [b'{"a":', b'["', b'"ON', b"\xff", b"a\nb", b"x" * 201])
def test_no_state(payload):
    """Broken JSON, other encodings than UTF-8, control characters and long texts are no states."""
    with pytest.raises(UndecodableError):
        json_tree.load_or_text(payload)


def test_long_integers():
    """Integers beyond 64 bits keep their digits, which orjson would lose."""
    assert json_tree.load(b'{"a": 18446744073709551617}') == {"a": 18446744073709551617}


def test_not_finite():
    """NaN and infinity are read, so that they affect one value and not the message."""
    assert json_tree.leaves(json_tree.load(b'{"a": Infinity, "b": 1}')) == [("a", float("inf")), ("b", 1)]


def test_depth():
    """Values deeper than those of any device are skipped; no depth causes another error."""
    nested = b'{"":' * 400 + b"1" + b"}" * 400
    assert json_tree.leaves(json_tree.load(nested)) == []
    assert json_tree.measurements(json_tree.load(nested)) == []
    with pytest.raises(UndecodableError):
        json_tree.load(b"[" * 100_000)


@pytest.mark.parametrize("document", [[0] * 10_001, [[0] * 6000, [0] * 6000]])
def test_width(document):
    """A tree with more values than any device sends is refused before it fills the memory."""
    with pytest.raises(UndecodableError, match="10000 values"):
        json_tree.leaves(document)
    with pytest.raises(UndecodableError, match="10000 values"):
        json_tree.measurements(document)


@pytest.mark.parametrize("payload", [b"[1]", b"1", b'"on"', b"null", b"online", b"\xff", b"{"])
def test_no_object(payload):
    """A document that is not an object is undecodable where an object is expected."""
    with pytest.raises(UndecodableError):
        json_tree.load_object(payload)


def test_empty():
    """An empty payload, which deletes a retained message, has no reading and is no error."""
    with pytest.raises(NoReadingError):
        json_tree.load(b"")
