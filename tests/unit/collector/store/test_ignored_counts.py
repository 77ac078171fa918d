"""Counts of ignored messages and values, by topic and reason: bounded, and equal to the accounts."""

import json

import pytest
from fix_bad_input import NOW, TOPIC, probes, wide
from hypothesis import given
from hypothesis import strategies as st

from collector.decode.decoder import Decoder
from collector.message import Decoded, IgnoredReason, Message, NoReadingError, Reason, Rejection
from collector.store import ignored
from collector.store.batch import Batch
from collector.store.ignored import MAX_LENGTH, MAX_LEVELS, MAX_TOPICS, OTHER_TOPICS, Ignored, Topics

IDS = {(name, quantity): 1 for name in ("p0", "p1") for quantity in ("temperature", "humidity", "open")}
DECODE = Decoder(probes(), IDS).decode
NULL, TEXT = IgnoredReason.NULL, IgnoredReason.UNMAPPED_TEXT


def test_a_batch_counts_ignored_messages_by_topic_and_reason():
    """Messages without readings are counted under their topic and the reason of the decoder."""
    messages = [Message(TOPIC, b"", NOW), Message(TOPIC, b"[]", NOW), Message("plant/p1", b"", NOW)]
    batch = Batch.of([*messages, Message(TOPIC, wide(temperature=1), NOW)], DECODE)
    assert sum(number.messages for number in batch.ignored.values()) == batch.accounts.ignored == 3
    assert batch.ignored[TOPIC, IgnoredReason.EMPTY_PAYLOAD] == Ignored(messages=1)
    assert batch.ignored["plant/p1", IgnoredReason.EMPTY_PAYLOAD] == Ignored(messages=1)


def test_values_beside_readings_are_counted():
    """Ignored values of a message with readings are counted under their own reason, and not as a message."""
    batch = Batch.of([Message("a", b"x", NOW)] * 2, lambda _: Decoded([(1, NOW, 2.0)], [], {NULL: 2, TEXT: 1}))
    assert batch.ignored == {("a", NULL): Ignored(0, 4), ("a", TEXT): Ignored(0, 2)}


def test_values_of_an_ignored_message_are_counted():
    """A message without readings counts once, and its values under their reasons."""

    def decode(_: Message) -> Decoded:
        raise NoReadingError(TEXT, "no number", {TEXT: 3})

    assert Batch.of([Message("a", b"x", NOW)], decode).ignored == {("a", TEXT): Ignored(1, 3)}


def test_a_refused_message_keeps_its_ignored_values():
    """Ignored values stay counted where the database refuses the readings beside them."""
    batch = Batch.of([Message("a", b"x", NOW)], lambda _: Decoded([(1, NOW, 2.0)], [], {NULL: 2}))
    refused = batch.refuse(Rejection(Reason.REFUSED_BY_DATABASE, "no"))
    assert refused.ignored == {("a", NULL): Ignored(0, 2)}


@given(st.text(max_size=300))
def test_topics_are_bounded(topic):
    """Whatever the topic, few levels and characters of it are kept."""
    short = ignored.shortened(topic)
    assert len(short) <= MAX_LENGTH
    assert short.count("/") <= MAX_LEVELS


@pytest.mark.parametrize(
    ("topic", "short"),
    [("a/b/c/d/e/f", "a/b/c/d/e/f"), ("a/b/c/d/e/f/g/h", "a/b/c/d/e/f/#"), ("x" * 130, "x" * 119 + "…")],
)
def test_shortened_topics(topic, short):
    """Six levels are kept whole, further ones become #, and a long topic is cut."""
    assert ignored.shortened(topic) == short


def test_further_topics_share_a_row():
    """Beyond the limit of an hour new topics are counted together, and those with rows keep them."""
    topics = Topics()
    topics.start(None, [f"t{n}" for n in range(MAX_TOPICS)])
    counts = {("t1", NULL): Ignored(1, 0), ("new", NULL): Ignored(2, 1), ("newer", NULL): Ignored(3, 1)}
    assert topics.group(counts, "mqtt") == {("t1", NULL): Ignored(1, 0), (OTHER_TOPICS, NULL): Ignored(5, 2)}


def test_rows_of_a_file_share_its_name():
    """Rows of a file are counted under its name."""
    counts = {("a.csv:17", NULL): Ignored(1, 0), ("a.csv:18", NULL): Ignored(1, 0)}
    assert Topics().group(counts, "file") == {("a.csv", NULL): Ignored(2, 0)}
    assert Topics().group(counts, "mqtt") == counts


def test_summary_by_reason():
    """The log has one number per reason."""
    counts = {("a", NULL): Ignored(1, 0), ("b", NULL): Ignored(1, 2), ("b", TEXT): Ignored(0, 1)}
    assert json.loads(json.dumps(ignored.by_reason(counts))) == {"null": 4, "unmapped_text": 1}
