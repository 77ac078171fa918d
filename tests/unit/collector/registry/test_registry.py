"""The registry: every mistake at once, each with its place, the value found there and the mend."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector import topics
from collector.registry import sensors_file
from collector.registry.sensors_file import RegistryError, parse
from core.errors import SettingError

ROOT = Path(sensors_file.__file__).parents[2]


def document(**more) -> dict:
    """Return a good registry of two sensors as a dictionary; ``more`` replaces members."""
    return {
        "subscribe": ["plant/#"],
        "types": {"probe": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 1}}}},
        "sensors": [sensor("a"), sensor("b")],
        **more,
    }


def sensor(name: str, **more) -> dict:
    """Return one good entry of ``sensors``."""
    return {"sensor_id": name, "type": "probe", "site": "here", "area": "hall", "topic": f"plant/{name}", **more}


def mistakes(found: dict | bytes) -> dict[str, tuple[str, str]]:
    """Return path → (value, problem) of all mistakes; each path stands once, or the test fails."""
    text = found if isinstance(found, bytes) else json.dumps(found).encode()
    with pytest.raises(RegistryError) as caught:
        parse(text)
    paths = [mistake.path for mistake in caught.value.mistakes]
    assert len(set(paths)) == len(paths)
    return {mistake.path: (mistake.value, mistake.problem) for mistake in caught.value.mistakes}


def only(found: dict | bytes) -> tuple[str, str, str]:
    """Return (path, value, problem) of the one mistake there is."""
    ((path, (value, problem)),) = mistakes(found).items()
    return path, value, problem


def test_good_registry():
    """A good file becomes sensors with their type's definitions and the defaults filled in."""
    found = parse(json.dumps(document()).encode())
    assert found.subscribe == ("plant/#",)
    assert [one.sensor_id for one in found.sensors] == ["a", "b"]
    assert found.sensors[0].device == "a"
    assert found.sensors[0].zone is None
    assert found.sensors[0].since == datetime(2000, 1, 1, tzinfo=UTC)
    assert found.sensors[0].quantities["temperature"].unit == "Cel"


def test_sensor_overrides_its_type():
    """A sensor's own quantities stand beside those of its type and replace those of the same name."""
    own = {
        "temperature": {"unit": "K", "interval_seconds": 5},
        "open": {"unit": "1", "interval_seconds": 1, "kind": "boolean"},
    }
    first, second = parse(json.dumps(document(sensors=[sensor("a", quantities=own), sensor("b")])).encode()).sensors
    assert {name: quantity.unit for name, quantity in first.quantities.items()} == {"temperature": "K", "open": "1"}
    assert {name: quantity.unit for name, quantity in second.quantities.items()} == {"temperature": "Cel"}


def test_byte_order_mark():
    """A file that an editor began with a byte order mark is read as if it had none."""
    assert parse(b"\xef\xbb\xbf" + json.dumps(document()).encode()).subscribe == ("plant/#",)


def test_all_kinds_at_once():
    """Mistakes of every kind in one file are all reported; a broken sensor hides none of another."""
    found = mistakes(
        document(
            types={
                "probe": {"quantities": {"temperature": {"unit": "°C", "interval_seconds": 1}}},
                "good": {"quantities": {"temperature": {"unit": "Cel", "interval_seconds": 0}}},
                "none": {"quantities": {}},
                "odd name": {"quantities": {"x": {"unit": "1", "interval_seconds": 1}}},
            },
            sensors=[
                sensor("a", latitude=91, longitude="east", colour="red"),
                sensor("b", topic="plant/+x"),
                sensor("c", type="prob"),
                sensor("d", since="2020-01-01T00:00:00"),
                {"sensor_id": "e"},
                sensor("f/g"),
                sensor("h", topic="other/h"),
                sensor("h"),
                sensor("i", timezone="CEST", device=5),
                "sensor",
            ],
        )
    )
    assert set(found) == {
        "/types/probe/quantities/temperature/unit",
        "/types/good/quantities/temperature/interval_seconds",
        "/types/none/quantities",
        "/types/odd name",
        "/sensors/0/latitude",
        "/sensors/0/longitude",
        "/sensors/0/colour",
        "/sensors/1/topic",
        "/sensors/2/type",
        "/sensors/3/since",
        "/sensors/4/type",
        "/sensors/4/site",
        "/sensors/4/area",
        "/sensors/4/topic",
        "/sensors/5/sensor_id",
        "/sensors/6/topic",
        "/sensors/7/sensor_id",
        "/sensors/8/timezone",
        "/sensors/8/device",
        "/sensors/9",
    }
    assert found["/sensors/0/latitude"][0] == "91"
    assert found["/sensors/0/colour"] == ('"red"', "unknown member; remove it or mend its spelling")
    assert found["/sensors/2/type"] == ("'prob'", "no such type; known under /types: good, none, odd name, probe")
    assert found["/sensors/4/site"] == ("", "is missing; add it")
    assert "no filter under /subscribe covers it" in found["/sensors/6/topic"][1]
    assert found["/sensors/7/sensor_id"] == ("'h'", "also /sensors/6; rename one")


@pytest.mark.parametrize("subscribe", [[], ["plant/#/x"], "plant/#", None, ["plant/#", 5]])
def test_bad_subscribe_hides_nothing(subscribe):
    """With filters that are wrong, mistakes elsewhere are reported too, but not that nothing covers the topics."""
    found = mistakes(document(subscribe=subscribe, sensors=[sensor("a", type="prob"), sensor("b"), sensor("b")]))
    assert {path.split("/")[1] for path in found} == {"subscribe", "sensors"}
    assert {path for path in found if path.startswith("/sensors")} == {
        "/sensors/0/type",
        "/sensors/2/sensor_id",
        "/sensors/2/device",
    }


def test_unknown_member_hides_nothing():
    """With an unknown member beside sensors, uncovered topics are still reported."""
    found = mistakes(document(sensor=[], sensors=[sensor("a", topic="other/a")]))
    assert set(found) == {"/sensor", "/sensors/0/topic"}


@pytest.mark.parametrize("types", [None, [], "probe", 5])
def test_types_of_a_wrong_kind(types):
    """Where types is no object that alone is reported, not that each sensor's type is unknown."""
    assert only(document(types=types))[0] == "/types"


@pytest.mark.parametrize("missing", ["subscribe", "types", "sensors"])
def test_missing_part(missing):
    """Each of the three parts is asked for by name."""
    found = document()
    del found[missing]
    assert only(found) == (f"/{missing}", "", "is missing; add it")


@pytest.mark.parametrize(
    ("unit", "mend"),
    [
        ("°C", "write 'Cel'"),
        ("celsius", "write 'Cel'"),
        ("°F", "write '[degF]'"),
        ("%RH", "write '%'"),
        ("bpm", "write '/min'"),
        ("Volt", "write 'V'"),
        ("µg/m³", "write 'ug/m3'"),
        ("", "write '1'"),
        ("furlong", "see https://ucum.org/ucum"),
        ("cel", "see https://ucum.org/ucum"),
        ("V\0", "see https://ucum.org/ucum"),
    ],
)
def test_bad_unit_names_the_good_one(unit, mend):
    """A unit that is no UCUM code is reported with the code that was probably meant."""
    path, value, problem = only(
        document(types={"probe": {"quantities": {"temperature": {"unit": unit, "interval_seconds": 1}}}})
    )
    assert path == "/types/probe/quantities/temperature/unit"
    assert json.loads(value) == unit
    assert problem.startswith("not a UCUM code")
    assert mend in problem


@pytest.mark.parametrize("unit", ["Cel", "[degF]", "%", "hPa", "/min", "V", "kW.h", "m/s2", "10*3/uL", "mol/m3"])
def test_good_units(unit):
    """UCUM codes, common or rare, are accepted as they are."""
    found = document(types={"probe": {"quantities": {"temperature": {"unit": unit, "interval_seconds": 1}}}})
    assert parse(json.dumps(found).encode()).sensors[0].quantities["temperature"].unit == unit


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("plant/+a", "alone in its level"),
        ("plant/#/a", "last level"),
        ("", "is empty"),
        ("plant/a\0b", "NUL"),
        ("plant/\udc80", "no UTF-8"),
        ("plant/" + "ü" * 32_765, "65535 bytes"),
    ],
)
def test_bad_topic(topic, problem):
    """A topic that nothing can be published on is refused with the reason."""
    path, _, found = only(document(sensors=[sensor("a", topic=topic)]))
    assert path == "/sensors/0/topic"
    assert problem in found


def test_longest_topic():
    """A topic of exactly 65,535 bytes is a topic."""
    topic = "plant/" + "a" * (65_535 - 6)
    assert parse(json.dumps(document(sensors=[sensor("a", topic=topic)])).encode()).sensors[0].topic == topic


@pytest.mark.parametrize(
    ("bad", "problem"),
    [("", "is empty"), ("plant/#/a", "last level"), ("plant#", "last level"), ("plant+/a", "alone in its level")],
)
def test_bad_filter(bad, problem):
    """A filter whose wildcards stand where they may not is refused with the rule."""
    path, _, found = only(document(subscribe=["plant/#", bad]))
    assert path == "/subscribe/1"
    assert problem in found


def test_same_topic_same_device():
    """Two sensors of one topic need different devices; the second is told of the first."""
    found = document(sensors=[sensor("a", topic="plant/x", device="d"), sensor("b", topic="plant/x", device="d")])
    assert only(found) == ("/sensors/1/device", "'d'", "/sensors/0 has the same topic and device; change one")


def test_same_topic_without_device_pointer():
    """Two sensors of one topic need a format that says where the device names itself."""
    found = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x")])
    found["types"]["probe"]["format"] = {"name": "fields", "device": None}
    path, value, problem = only(found)
    assert (path, value) == ("/sensors/1/topic", "'plant/x'")
    assert "also the topic of /sensors/0" in problem
    assert "set format.device" in problem


def test_same_topic_other_format():
    """Two sensors of one topic need one format."""
    other = {"name": "fields", "time": "/ts"}
    found = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x", format=other)])
    path, _, problem = only(found)
    assert path == "/sensors/1/format"
    assert "shares its topic with /sensors/0" in problem


def test_same_topic_other_device():
    """Two sensors of one topic with devices of their own are fine."""
    found = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x")])
    assert len(parse(json.dumps(found).encode()).sensors) == 2


@pytest.mark.parametrize(("minimum", "maximum"), [(5, 5), (6, 5), (-1, -2)])
def test_range_of_a_type(minimum, maximum):
    """An empty range is reported once, where it is written, however many sensors have the type, and with none."""
    quantity = {"unit": "Cel", "interval_seconds": 1, "minimum": minimum, "maximum": maximum}
    for sensors in ([], [sensor("a"), sensor("b")]):
        found = document(types={"probe": {"quantities": {"temperature": quantity}}}, sensors=sensors)
        path, value, problem = only(found)
        assert path == "/types/probe/quantities/temperature"
        assert value == f"{float(minimum)} … {float(maximum)}"
        assert "minimum is not below maximum" in problem


def test_range_of_a_sensor():
    """An empty range that a sensor brings itself is reported at that sensor."""
    quantity = {"unit": "Cel", "interval_seconds": 1, "minimum": 2, "maximum": 1}
    found = document(sensors=[sensor("a"), sensor("b", quantities={"temperature": quantity})])
    assert only(found)[0] == "/sensors/1/quantities/temperature"


@pytest.mark.parametrize("name", ["minimum", "maximum", "interval_seconds"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(name, number):
    """Neither a range nor an interval can be NaN or infinite."""
    quantity = {"unit": "Cel", "interval_seconds": 1, name: "@"}
    text = json.dumps(document(types={"probe": {"quantities": {"temperature": quantity}}}))
    assert only(text.replace('"@"', number).encode())[0] == f"/types/probe/quantities/temperature/{name}"


@pytest.mark.parametrize(
    ("since", "problem"),
    [
        ("2020-01-01T00:00:00", "has no zone"),
        ("2020-01-01", "has no zone"),
        ("yesterday", "datetime"),
        ("0001-01-01T00:00:00+02:00", "out of the calendar"),
    ],
)
def test_bad_since(since, problem):
    """A date from which a sensor counts needs a zone and a place in the calendar."""
    path, value, found = only(document(sensors=[sensor("a", since=since)]))
    assert (path, json.loads(value)) == ("/sensors/0/since", since)
    assert problem in found


def test_since_in_any_zone():
    """The date from which a sensor counts is kept as an instant, whatever zone it is written in."""
    found = document(sensors=[sensor("a", since="2020-01-01T02:00:00+02:00")])
    assert parse(json.dumps(found).encode()).sensors[0].since == datetime(2020, 1, 1, tzinfo=UTC)


def test_duplicate_members():
    """A member that stands twice in an object is reported, beside what else is wrong."""
    text = json.dumps(document(sensors=[sensor("a", type="prob")])).replace('"site"', '"area": "x", "site"')
    assert mistakes(text.encode()) == {
        "": ("'area'", "a member stands twice in one object; keep one of them"),
        "/sensors/0/type": ("'prob'", "no such type; known under /types: probe"),
    }


@pytest.mark.parametrize(
    ("text", "value", "problem"),
    [
        (b"", "line 1 column 1", "not JSON"),
        (b"  \n", "line 2 column 1", "not JSON"),
        (b'{"types": {},\n]', "line 2 column 1", "not JSON"),
        (b'{"types": "\xff"}', "byte 11", "not UTF-8"),
        (json.dumps({"types": {}}).encode("utf-16"), "byte 0", "not UTF-8"),
        (b"[" * 100_000, "", "nested too deeply"),
        (b"1" * 5_000, "", "not JSON"),
        (b"null", "null", "valid dictionary"),
        (b"[]", "[]", "valid dictionary"),
    ],
)
def test_not_a_document(text, value, problem):
    """What is no JSON object at all is one mistake that says where reading ended."""
    path, found, why = only(text)
    assert (path, found) == ("", value)
    assert problem in why


@pytest.mark.parametrize("name", ["site", "area", "description", "device"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_texts_the_database_can_hold(name, text):
    """A text that no database text can hold is refused, in a message that can be printed."""
    with pytest.raises(RegistryError) as caught:
        parse(json.dumps(document(sensors=[sensor("a", **{name: text})])).encode())
    assert [mistake.path for mistake in caught.value.mistakes] == [f"/sensors/0/{name}"]
    assert str(caught.value).encode()


@pytest.mark.parametrize("name", ["a\n", "a/b", "~", "-a", "", "a" * 101])
def test_names_of_types(name):
    """A type's name follows the rule for names, and its path is a JSON Pointer."""
    kinds = {**document()["types"], name: document()["types"]["probe"]}
    path, _, problem = only(document(types=kinds))
    assert path == "/types/" + name.replace("~", "~0").replace("/", "~1")
    assert "names are letters, digits" in problem


@pytest.mark.parametrize("member", ["time", "device", "quantity", "value", "readings"])
def test_pointers_begin_with_a_slash(member):
    """A pointer without its slash is reported with it."""
    found = document()
    found["types"]["probe"]["format"] = {"name": "fields", member: "payload/x"}
    path, _, problem = only(found)
    assert path == f"/types/probe/format/{member}"
    assert "write '/payload/x'" in problem


def fleet(**more) -> dict:
    """Return one good entry of a fleet that discovers."""
    return {"type": "probe", "site": "here", "area": "hall", "topic": "plant/{sensor}", "discover": True, **more}


def test_fleets():
    """An entry whose topic names its sensors is a fleet; members that it lists alone are known from the start."""
    listed = fleet(
        topic="plant/x/{sensor}/#", sensor_id="x-{sensor}", discover=False, members={"a/b": {"area": "roof"}, "c": {}}
    )
    found = parse(json.dumps(document(sensors=[sensor("a"), fleet(), listed])).encode())
    assert [one.sensor_id for one in found.sensors] == ["a"]
    assert [one.base.sensor_id for one in found.fleets] == ["{device}", "x-{sensor}"]
    assert [(one.sensor_id, one.device, one.topic, one.area) for one in found.members] == [
        ("x-a-b", "a/b", "plant/x/a/b/#", "roof"),
        ("x-c", "c", "plant/x/c/#", "hall"),
    ]
    assert found.discovered("plant/new", "new").sensor_id == "new"
    assert found.discovered("plant/a", "a") is None
    assert found.discovered("plant/x/stranger/y", "stranger") is None
    assert found.discovered("elsewhere/new", "new") is None


def test_pattern_of_one_sensor():
    """One sensor may publish on many topics."""
    entry = sensor("a", topic="plant/a/{quantity}/#", format="value")
    assert [one.sensor_id for one in parse(json.dumps(document(sensors=[entry])).encode()).sensors] == ["a"]


@pytest.mark.parametrize(
    ("entry", "path", "problem"),
    [
        (fleet(discover=False), "", "Set discover to true"),
        (fleet(discover=False, sensor_id="x-{sensor}"), "", "list their names under members"),
        (sensor("a", topic="plant/{sensor}"), "/sensor_id", "one name for all that {sensor}"),
        (fleet(sensor_id="one"), "/sensor_id", "one name for many sensors"),
        (fleet(sensor_id="{sensor}/x"), "/sensor_id", "names are letters, digits"),
        (fleet(sensor_id="{place}"), "/sensor_id", "the topic has no {place}"),
        (fleet(site="{place}"), "/site", "the topic has no {place}"),
        (fleet(area="{"), "/area", "mend the braces"),
        (fleet(device="x"), "/device", "name themselves"),
        (sensor("a", area="{area}"), "/area", "placeholders are for fleets"),
        (fleet(members={}), "/members", "at least 1 item"),
        (fleet(members={"a": {"are": "x"}}), "/members/a/are", "unknown member"),
        (fleet(discover=False, members={"°": {}}), "/members/°", "no name of a device"),
        (
            fleet(topic="plant/{area}/{sensor}", area="{area}", discover=False, members={"a": {}}),
            "/area",
            "members are registered before they say anything",
        ),
        (fleet(topic="plant/{sensor"), "/topic", "mend the braces"),
        (fleet(topic="other/{sensor}"), "/topic", "no filter under /subscribe covers it"),
        (fleet(topic="{sensor:path}"), "/topic", "no filter under /subscribe covers it"),
        (fleet(format="value"), "/topic", "needs {quantity} there"),
        (fleet(topic="plant/{quantity}", format="value"), "/topic", "names no sensor"),
        (fleet(format="tasmoto"), "/format", "no such format; known are fields"),
        (fleet(format={"name": "value", "unit_sufix": True}), "/format/unit_sufix", "unknown member"),
        (fleet(format=5), "/format", "valid dictionary"),
        ({"type": "probe", "site": "s", "area": "a", "topic": "plant/a"}, "/sensor_id", "is missing"),
    ],
)
def test_mistakes_of_fleets(entry, path, problem):
    """What is wrong with a fleet's names is reported at its place, with the mend."""
    found, _, text = only(document(sensors=[entry]))
    assert found == f"/sensors/0{path}"
    assert problem in text


def test_two_of_one_name():
    """Members don't share an id with each other or with sensors that have an entry of their own."""
    listed = fleet(discover=False, members={"a": {}, "x y": {}, "x-y": {}}, topic="plant/x/{sensor}")
    found = mistakes(document(sensors=[sensor("a"), listed]))
    assert set(found) == {"/sensors/1/members/a", "/sensors/1/members/x-y"}
    assert "would be sensor a, which /sensors/0 is" in found["/sensors/1/members/a"][1]


def test_fleets_have_their_topic_for_themselves():
    """Two fleets of one pattern, or a fleet and a sensor, are one entry too many."""
    path, _, problem = only(document(sensors=[fleet(), fleet(area="other")]))
    assert path == "/sensors/1/topic"
    assert "make them one" in problem


@pytest.mark.parametrize(
    ("form", "more", "path", "problem"),
    [
        ("fields", {"source": "t"}, "/source", "write pointer instead"),
        ("tasmota", {"pointer": "/t"}, "/pointer", "write source"),
        ("tasmota", {"source": "b"}, "/source", "also that of a"),
        ("tasmota", {"sent_unit": "W"}, "/sent_unit", "can't be converted"),
        ("tasmota", {"sent_unit": "°F"}, "/sent_unit", "write '[degF]'"),
        ("fields", {"states": {}}, "/states", "at least 1 item"),
        ("fields", {"states": {"open": "1"}}, "/states/open", "valid number"),
    ],
)
def test_mistakes_of_quantities(form, more, path, problem):
    """What a quantity can't have with its format, or its unit, is reported."""
    quantities = {
        "a": {"unit": "Cel", "interval_seconds": 1, **({"source": "b"} if form != "fields" else {})},
        "c": {"unit": "Cel", "interval_seconds": 1, **more},
    }
    found, _, text = only(document(types={"probe": {"quantities": quantities, "format": form}}, sensors=[]))
    assert found == "/types/probe/quantities/c" + path
    assert problem in text


@pytest.mark.parametrize("own", [{}, {"discover": True, "sensor_id": "x-{device}"}])
def test_zone_of_a_format_that_has_its_own(own):
    """A zone that the format would not look at is a mistake that says where it belongs."""
    entry = {**sensor("a", timezone="Europe/Berlin", format="tasmota"), **own}
    path, value, problem = only(document(sensors=[entry]))
    assert (path, value) == ("/sensors/0/timezone", "'Europe/Berlin'")
    assert '{"name": "tasmota", "timezone": "Europe/Berlin"}' in problem


def test_fields_may_have_states_and_units():
    """Quantities of format fields have states and a sent unit too."""
    quantities = {
        "temperature": {"unit": "Cel", "sent_unit": "[degF]", "interval_seconds": 1},
        "door": {"unit": "1", "states": {"open": 1}, "interval_seconds": 1},
    }
    assert parse(json.dumps(document(types={"probe": {"quantities": quantities}})).encode())


def test_error_is_a_list():
    """What the user reads is the file, how many mistakes, and a line for each."""
    with pytest.raises(RegistryError) as caught:
        parse(json.dumps(document(sensors=[sensor("a", type="x"), sensor("b", latitude=100)])).encode(), "my.json")
    first, *lines = str(caught.value).splitlines()
    assert first == "my.json: 2 mistakes"
    assert all(line.startswith("  /sensors/") and "(found " in line for line in lines)
    assert len(lines) == 2


def test_file_that_is_not_there(tmp_path):
    """A missing file is an error that names it and the variable to set."""
    with pytest.raises(SettingError, match=r"nowhere\.json: No such file.*COLLECTOR_REGISTRY"):
        sensors_file.load(tmp_path / "nowhere.json")


def test_schema_is_committed():
    """The schema file that editors complete by is the one the code makes."""
    assert sensors_file.SCHEMA_FILE.read_text() == sensors_file.schema()


def test_sensors_json_of_the_repository():
    """The registry that comes with the product is valid and has the sensors it promises."""
    found = sensors_file.load(ROOT / "sensors.json")
    quantities = {name for one in found.sensors for name in one.quantities}
    kinds = {one.type for one in found.sensors}
    assert kinds >= {"thermostat", "barometer", "hygrometer", "heart_rate_meter", "motor"}
    assert quantities >= {"temperature", "pressure", "humidity", "heart_rate", "voltage"}
    assert all(one.site and one.area and one.latitude is not None for one in found.sensors)


# MQTT 3.1.1, section 4.7: the examples of the standard, and its corners.
@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/tennis/player1/#", "sport/tennis/player2", False),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("#", "sport/tennis", True),
        ("#", "/", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("+", "finance", True),
        ("+/tennis/#", "sport/tennis/a/b", True),
        ("+/tennis/#", "sport/football", False),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/+", "$SYS/uptime", True),
        ("sport", "Sport", False),
        ("sport", "/sport", False),
        ("sport", "sport/", False),
        ("a//b", "a//b", True),
        ("a/+/b", "a//b", True),
        ("a b/ü", "a b/ü", True),
    ],
)
def test_filters_match_as_the_standard_says(pattern, topic, expected):
    """Wildcards match what MQTT 3.1.1 says they match."""
    assert topics.check_filter(pattern) == pattern
    assert topics.matches(pattern, topic) is expected
