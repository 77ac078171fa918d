"""State of Sparkplug's edge nodes: births, sequence numbers, deaths and requested rebirths."""

import json

import pytest
from fix_formats import ARRIVED, named, sent, values
from fix_sparkplug import (
    ADDRESS,
    AT,
    BORN,
    DEVICE,
    DEVICE_BORN,
    SECOND,
    Plant,
    encode,
)

from collector.formats.measurement import Topic
from collector.formats.sparkplug.nodes import Publication
from collector.formats.sparkplug.reader import SparkplugFormat
from collector.message import Message, NoReadingError, Reason, UndecodableError


def test_data_without_birth():
    """Data by alias without a birth is quarantined as a whole, and a rebirth is requested at intervals."""
    plant = Plant()
    alias = [{"name": "x", "dataType": "Int8", "value": 1}, {"alias": 7, "field": "float_value", "value": 2.5}]
    for after, requests in ((1, 1), (1, 0), (1, 0), (8, 1), (1, 0), (18, 0), (1, 1), (3600, 1), (9, 0)):
        with pytest.raises(UndecodableError) as caught:
            plant.send("DDATA", alias, after=after)
        assert caught.value.rejection.reason is Reason.MISSING_BIRTH
        assert plant.rebirth_requests() == requests, after


def test_sequence_wraps():
    """255 is followed by 0, which is no gap."""
    plant = Plant()
    plant.send("NBIRTH", BORN, 254)
    plant.send("DBIRTH", DEVICE_BORN, 255)
    for seq in (0, 1, 2):
        plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 1.0}], seq)
    assert plant.rebirth_requests() == 0


@pytest.mark.parametrize("seq", [1, 3, 0, 255])
def test_gap(seq):
    """After a gap in the sequence a rebirth is requested; the data is read, and the sequence continues from it."""
    plant = Plant().born()
    data = [{"alias": 7, "field": "float_value", "value": 1.0}]
    assert plant.send("DDATA", data, seq)
    assert plant.rebirth_requests() == 1
    plant.now += 60 * SECOND
    assert plant.send("DDATA", data, (seq + 1) % 256)
    assert plant.rebirth_requests() == 0


def test_device_death_counts():
    """A device's death is part of the sequence."""
    plant = Plant().born()
    plant.ignores("DDEATH", seq=2)
    plant.send("NDATA", [{"alias": 0, "field": "int_value", "value": 1}], 3)
    assert plant.rebirth_requests() == 0


def test_death():
    """After a node's death its data is read, and a rebirth is requested."""
    plant = Plant().born()
    plant.ignores("NDEATH", [{"name": "bdSeq", "dataType": "Int64", "value": 4}])
    assert plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 1.0}], 2)
    assert plant.rebirth_requests() == 1


def test_death_of_an_earlier_session():
    """A late NDEATH with an older bdSeq is ignored."""
    plant = Plant().born()
    plant.ignores("NDEATH", [{"name": "bdSeq", "dataType": "Int64", "value": 3}])
    plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 1.0}], 2)
    assert plant.rebirth_requests() == 0


def test_device_birth_of_an_earlier_session():
    """A node's new birth ends its devices' old ones: data before their new births is rejected."""
    plant = Plant().born()
    plant.send("NBIRTH", BORN, 0)
    with pytest.raises(UndecodableError) as caught:
        plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 1.0}], 2)
    assert caught.value.rejection.reason is Reason.MISSING_BIRTH
    assert plant.rebirth_requests() == 1


def test_device_birth_before_node_birth():
    """A device's birth without its node's is read, and a rebirth is requested."""
    plant = Plant()
    assert plant.send("DBIRTH", DEVICE_BORN, 1)
    assert plant.rebirth_requests() == 1


def test_no_requests():
    """With rebirth: false the reader requests no rebirth."""
    plant = Plant(rebirth=False)
    plant.send("DBIRTH", DEVICE_BORN, 1)
    assert plant.rebirth_requests() == 0


def test_decoding_again():
    """Data that is decoded again after a database error uses the birth of its time and requests no rebirth."""
    plant = Plant().born()
    data = encode({"timestamp": AT, "seq": 2, "metrics": [{"alias": 7, "field": "float_value", "value": 1.0}]})
    message = Message(ADDRESS.format("DDATA") + "/pump", data, plant.now + 1)
    first = plant.reader.read(message, Topic())
    plant.send("NBIRTH", BORN, 0)
    plant.send("DBIRTH", [{"name": "Other", "alias": 7, "dataType": "Float", "value": 1.0}], 1)
    assert plant.reader.read(message, Topic()) == first
    plant.send("DDATA", [{"alias": 7, "field": "float_value", "value": 1.0}], 2)
    assert plant.rebirth_requests() == 0


def test_replay():
    """Quarantined data is read with the birth that arrived after it."""
    plant = Plant()
    data = encode({"timestamp": AT, "seq": 2, "metrics": [{"alias": 7, "field": "float_value", "value": 1.0}]})
    message = Message(ADDRESS.format("DDATA") + "/pump", data, ARRIVED)
    with pytest.raises(UndecodableError):
        plant.reader.read(message, Topic())
    plant.born()
    assert sent(named(plant.reader.read(message, Topic()))) == [(DEVICE, "Flow", 1.0, "m3/h")]


def test_births_to_store():
    """Pending births are the last of each topic; another reader loads them and then requests new ones."""
    plant = Plant().born()
    first = plant.reader.nodes.pending()
    plant.send("DBIRTH", DEVICE_BORN, 2)
    plant.reader.nodes.saved(first)
    remaining = plant.reader.nodes.pending()
    assert [birth.topic for birth in first] == [ADDRESS.format("NBIRTH"), ADDRESS.format("DBIRTH") + "/pump"]
    assert [birth.topic for birth in remaining] == [ADDRESS.format("DBIRTH") + "/pump"]
    plant.reader.nodes.saved(remaining)
    assert plant.reader.nodes.pending() == []

    later = Plant()
    later.now = plant.now
    for birth in [first[0], remaining[0]]:
        later.reader.nodes.prime(birth)
    assert values(later.send("DDATA", [{"alias": 7, "field": "float_value", "value": 3.0}], 9)) == {"Flow": 3.0}
    assert later.rebirth_requests() == 1
    assert later.reader.nodes.pending() == []


def test_nodes_are_bounded(monkeypatch):
    """The number of stored nodes is bounded: those with the oldest births are removed first."""
    monkeypatch.setattr("collector.formats.sparkplug.nodes._LARGEST_SIZE", 10)
    reader = SparkplugFormat().reader()
    birth = encode({"metrics": [{"name": "x", "alias": 1, "dataType": "Float", "value": 1.0}]})
    for number in range(20):
        reader.read(Message(f"spBv1.0/g/NBIRTH/n{number}", birth, ARRIVED + number), Topic())
    data = encode({"metrics": [{"alias": 1, "field": "float_value", "value": 1.0}]})
    assert values(named(reader.read(Message("spBv1.0/g/NDATA/n19", data, ARRIVED + 30), Topic()))) == {"x": 1.0}
    with pytest.raises(UndecodableError):
        reader.read(Message("spBv1.0/g/NDATA/n0", data, ARRIVED + 31), Topic())


def test_states():
    """States of host applications have no reading; our own is published again when it is offline."""
    online = Publication("spBv1.0/STATE/me", b'{"online":true,"timestamp":5}', 1, retain=True)
    reader = SparkplugFormat().reader()
    reader.nodes.online = online
    for topic, payload, answer in (
        ("spBv1.0/STATE/other", b'{"online":false,"timestamp":5}', []),
        ("spBv1.0/STATE/me", online.payload, []),
        ("spBv1.0/STATE/me", b"OFFLINE", []),
        ("spBv1.0/STATE/me", b"", []),
        ("spBv1.0/STATE/me", json.dumps({"online": False, "timestamp": 4}).encode(), [online]),
    ):
        with pytest.raises(NoReadingError):
            reader.read(Message(topic, payload, ARRIVED), Topic())
        assert list(reader.nodes.outbox) == answer
