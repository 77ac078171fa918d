"""Topic patterns: matching, placeholders and the filters that cover them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from collector import topics
from collector.topics import Pattern, Template


@pytest.mark.parametrize(
    ("pattern", "topic", "names"),
    [
        ("a/{sensor}", "a/x", {"sensor": "x"}),
        ("a/{sensor}", "a/", None),
        ("a/{sensor}", "a/x/y", None),
        ("a/{sensor:path}", "a/x/y", {"sensor": "x/y"}),
        ("a/{sensor:path}/set", "a/x/y/set", {"sensor": "x/y"}),
        ("a/{sensor:path}/set", "a/set", None),
        ("a/{sensor:path}/{quantity}", "a/x/y/z", {"sensor": "x/y", "quantity": "z"}),
        ("tele/{sensor}/#", "tele/plug/SENSOR", {"sensor": "plug", "#": "SENSOR"}),
        ("tele/{sensor}/#", "tele/plug/a/b", {"sensor": "plug", "#": "a/b"}),
        ("tele/{sensor}/#", "tele/plug/", {"sensor": "plug", "#": ""}),
        ("tele/{sensor}/#", "tele/plug", {"sensor": "plug", "#": ""}),
        ("tele/{sensor}/#", "tele", None),
        ("#", "a/b", {"#": "a/b"}),
        ("{sensor}/#", "$SYS/x", None),
        ("{sensor:path}", "$SYS/x", None),
        ("$SYS/{sensor}", "$SYS/x", {"sensor": "x"}),
        ("+/{sensor}", "/x", {"sensor": "x"}),
        ("a/+/{sensor}", "a//x", {"sensor": "x"}),
        ("{sensor}/tele/#", "plug/tele/SENSOR", {"sensor": "plug", "#": "SENSOR"}),
        ("a/esp-{sensor}.x", "a/esp-1.x", {"sensor": "1"}),
        ("a/esp-{sensor}.x", "a/esp-1-x", None),
        ("a/(b)/{sensor}", "a/(b)/x", {"sensor": "x"}),
        ("a/{sensor}", "a/x\n", {"sensor": "x\n"}),
        ("a/b", "a/b", {}),
        ("a/b", "a/c", None),
    ],
)
def test_match(pattern, topic, names):
    """A placeholder is one level that is not empty, or several with :path; # is the rest of the topic."""
    assert Pattern.compile(pattern).match(topic) == names


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("a/{sensor}/b", "a/+/b"),
        ("a/x-{sensor}/#", "a/+/#"),
        ("a/{sensor:path}", "a/#"),
        ("a/{sensor:path}/b", "a/#"),
        ("{sensor}", "+"),
        ("a/b", "a/b"),
    ],
)
def test_filter(pattern, wanted):
    """The filter of a pattern is the narrowest that MQTT has."""
    assert Pattern.compile(pattern).filter == wanted
    assert Pattern.compile(pattern).exact == (pattern == "a/b")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a/{sensor", "correct the braces"),
        ("a/{}", "correct the braces"),
        ("a/{sen sor}", "correct the braces"),
        ("a/{sensor:paths}", "correct the braces"),
        ("a/{1}", "correct the braces"),
        ("a/{a}{b}", "one placeholder"),
        ("{a}/{a}", "occurs twice"),
        ("a/{b}+", "must be alone"),
        ("a/#/{b}", "last level"),
        ("a/b+", "alone in its level"),
        ("{a:path}/{b:path}", "two placeholders of several levels"),
        ("{a:path}/#", "is ambiguous"),
        ("", "is empty"),
    ],
)
def test_mistakes(pattern, problem):
    """An invalid pattern is refused with the fix."""
    with pytest.raises(ValueError, match=problem):
        Pattern.compile(pattern)


@pytest.mark.parametrize(
    ("given_", "wanted", "expected"),
    [
        ("a/#", "a/+/b", True),
        ("a/#", "a", True),
        ("a/#", "a/#", True),
        ("#", "a/+", True),
        ("a/+", "a/+", True),
        ("a/+", "a/b", True),
        ("a/b", "a/+", False),
        ("a/+", "a/#", False),
        ("a/+/b", "a/#", False),
        ("+/#", "#", False),
        ("a/+", "a/+/b", False),
        ("#", "$SYS/a", False),
    ],
)
def test_covers(given_, wanted, expected):
    """A filter covers another when it matches all topics of the other."""
    assert topics.covers(given_, wanted) is expected


LEVELS = st.lists(st.sampled_from(["a", "b", "+", "{x}", "c-{y}", "", "$d", "{z:path}"]), min_size=1, max_size=5)


@given(LEVELS, st.booleans(), st.lists(st.sampled_from(["a", "b", "c-1", "", "$d"]), min_size=1, max_size=6))
def test_matching_agrees_with_the_filter(levels, rest, topic):
    """A topic that matches a pattern matches its filter too, and the filter filled with the topic's names (by paho)."""
    text, published = "/".join([*levels, *["#"] * rest]), "/".join(topic)
    try:
        pattern = Pattern.compile(text)
    except ValueError:
        return
    names = pattern.match(published)
    if names is not None:
        assert topic_matches_sub(pattern.filter, published)
        assert topic_matches_sub(pattern.fill(names), published)
    if names is None and "{" not in text:
        assert not published or not topic_matches_sub(pattern.filter, published)


def test_template():
    """A template is filled with the values of its placeholders."""
    template = Template.compile("z2m-{sensor}/{x}")
    assert template.names == ("sensor", "x")
    assert template.fill({"sensor": "a{x}", "x": "b"}) == "z2m-a{x}/b"
    with pytest.raises(ValueError, match="allowed only in the topic"):
        Template.compile("{sensor:path}")
