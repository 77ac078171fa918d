"""The registry: all mistakes in one list, each with its place, the value there and the fix."""

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


def mistakes(raw: dict | bytes) -> dict[str, tuple[str, str]]:
    """Return path → (value, problem) of all mistakes; fail if two have the same path."""
    text = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(RegistryError) as caught:
        parse(text)
    paths = [mistake.path for mistake in caught.value.mistakes]
    assert len(set(paths)) == len(paths)
    return {mistake.path: (mistake.value, mistake.problem) for mistake in caught.value.mistakes}


def only(raw: dict | bytes) -> tuple[str, str, str]:
    """Return (path, value, problem) of the only mistake."""
    ((path, (value, problem)),) = mistakes(raw).items()
    return path, value, problem


def test_good_registry():
    """A valid file becomes sensors with their type's definitions and the defaults filled in."""
    registry = parse(json.dumps(document()).encode())
    assert registry.subscribe == ("plant/#",)
    assert [sensor.sensor_id for sensor in registry.sensors] == ["a", "b"]
    assert registry.sensors[0].device == "a"
    assert registry.sensors[0].zone is None
    assert registry.sensors[0].since == datetime(2000, 1, 1, tzinfo=UTC)
    assert registry.sensors[0].quantities["temperature"].unit == "Cel"


def test_sensor_overrides_its_type():
    """A sensor's quantities extend those of its type and replace those of the same name."""
    own = {
        "temperature": {"unit": "K", "interval_seconds": 5},
        "open": {"unit": "1", "interval_seconds": 1, "kind": "boolean"},
    }
    first, second = parse(json.dumps(document(sensors=[sensor("a", quantities=own), sensor("b")])).encode()).sensors
    assert {name: quantity.unit for name, quantity in first.quantities.items()} == {"temperature": "K", "open": "1"}
    assert {name: quantity.unit for name, quantity in second.quantities.items()} == {"temperature": "Cel"}


def test_byte_order_mark():
    """A byte order mark at the start of the file is ignored."""
    assert parse(b"\xef\xbb\xbf" + json.dumps(document()).encode()).subscribe == ("plant/#",)


def test_all_kinds_at_once():
    """Mistakes of every kind in one file are all reported; an invalid sensor does not hide the mistakes of another."""
    by_path = mistakes(
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
    assert set(by_path) == {
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
    assert by_path["/sensors/0/latitude"][0] == "91"
    assert by_path["/sensors/0/colour"] == ('"red"', "unknown member; remove it or correct its spelling")
    assert by_path["/sensors/2/type"] == ("'prob'", "no such type; known under /types: good, none, odd name, probe")
    assert by_path["/sensors/4/site"] == ("", "is missing; add it")
    assert "no filter under /subscribe covers it" in by_path["/sensors/6/topic"][1]
    assert by_path["/sensors/7/sensor_id"] == ("'h'", "also /sensors/6; rename one")


@pytest.mark.parametrize("subscribe", [[], ["plant/#/x"], "plant/#", None, ["plant/#", 5]])
def test_bad_subscribe_hides_nothing(subscribe):
    """With invalid filters, other mistakes are still reported, but not topics without a filter."""
    by_path = mistakes(document(subscribe=subscribe, sensors=[sensor("a", type="prob"), sensor("b"), sensor("b")]))
    assert {path.split("/")[1] for path in by_path} == {"subscribe", "sensors"}
    assert {path for path in by_path if path.startswith("/sensors")} == {
        "/sensors/0/type",
        "/sensors/2/sensor_id",
        "/sensors/2/device",
    }


def test_unknown_member_hides_nothing():
    """With an unknown member next to sensors, uncovered topics are still reported."""
    by_path = mistakes(document(sensor=[], sensors=[sensor("a", topic="other/a")]))
    assert set(by_path) == {"/sensor", "/sensors/0/topic"}


@pytest.mark.parametrize("types", [None, [], "probe", 5])
def test_types_of_a_wrong_json_type(types):
    """If types is not an object, only that is reported, not that each sensor's type is unknown."""
    assert only(document(types=types))[0] == "/types"


@pytest.mark.parametrize("missing", ["subscribe", "types", "sensors"])
def test_missing_part(missing):
    """Each of the three parts is reported as missing by its name."""
    raw = document()
    del raw[missing]
    assert only(raw) == (f"/{missing}", "", "is missing; add it")


@pytest.mark.parametrize(
    ("unit", "fix"),
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
def test_bad_unit_is_reported_with_the_valid_one(unit, fix):
    """A unit that is not a UCUM code is reported with the code that was probably meant."""
    path, value, problem = only(
        document(types={"probe": {"quantities": {"temperature": {"unit": unit, "interval_seconds": 1}}}})
    )
    assert path == "/types/probe/quantities/temperature/unit"
    assert json.loads(value) == unit
    assert problem.startswith("not a UCUM code")
    assert fix in problem


@pytest.mark.parametrize("unit", ["Cel", "[degF]", "%", "hPa", "/min", "V", "kW.h", "m/s2", "10*3/uL", "mol/m3"])
def test_good_units(unit):
    """UCUM codes, common or rare, are accepted as they are."""
    raw = document(types={"probe": {"quantities": {"temperature": {"unit": unit, "interval_seconds": 1}}}})
    assert parse(json.dumps(raw).encode()).sensors[0].quantities["temperature"].unit == unit


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("plant/+a", "alone in its level"),
        ("plant/#/a", "last level"),
        ("", "is empty"),
        ("plant/a\0b", "NUL"),
        ("plant/\udc80", "not valid UTF-8"),
        ("plant/" + "ü" * 32_765, "65535 bytes"),
    ],
)
def test_bad_topic(topic, problem):
    """An invalid topic is refused with the reason."""
    path, _, reported = only(document(sensors=[sensor("a", topic=topic)]))
    assert path == "/sensors/0/topic"
    assert problem in reported


def test_longest_topic():
    """A topic of exactly 65,535 bytes is accepted."""
    topic = "plant/" + "a" * (65_535 - 6)
    assert parse(json.dumps(document(sensors=[sensor("a", topic=topic)])).encode()).sensors[0].topic == topic


@pytest.mark.parametrize(
    ("bad", "problem"),
    [("", "is empty"), ("plant/#/a", "last level"), ("plant#", "last level"), ("plant+/a", "alone in its level")],
)
def test_bad_filter(bad, problem):
    """A filter with misplaced wildcards is refused with the rule."""
    path, _, reported = only(document(subscribe=["plant/#", bad]))
    assert path == "/subscribe/1"
    assert problem in reported


def test_same_topic_same_device():
    """Two sensors of one topic need different devices; the mistake names the first sensor."""
    raw = document(sensors=[sensor("a", topic="plant/x", device="d"), sensor("b", topic="plant/x", device="d")])
    assert only(raw) == ("/sensors/1/device", "'d'", "/sensors/0 has the same topic and device; change one")


def test_same_topic_without_device_pointer():
    """Two sensors of one topic need a format with a device pointer."""
    raw = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x")])
    raw["types"]["probe"]["format"] = {"name": "fields", "device": None}
    path, value, problem = only(raw)
    assert (path, value) == ("/sensors/1/topic", "'plant/x'")
    assert "also the topic of /sensors/0" in problem
    assert "set format.device" in problem


def test_same_topic_other_format():
    """Two sensors of one topic need one format."""
    other = {"name": "fields", "time": "/ts"}
    raw = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x", format=other)])
    path, _, problem = only(raw)
    assert path == "/sensors/1/format"
    assert "shares its topic with /sensors/0" in problem


def test_same_topic_other_device():
    """Two sensors may share a topic if their devices differ."""
    raw = document(sensors=[sensor("a", topic="plant/x"), sensor("b", topic="plant/x")])
    assert len(parse(json.dumps(raw).encode()).sensors) == 2


@pytest.mark.parametrize(("minimum", "maximum"), [(5, 5), (6, 5), (-1, -2)])
def test_range_of_a_type(minimum, maximum):
    """An empty range is reported once, where it is written, however many sensors have the type, and with none."""
    quantity = {"unit": "Cel", "interval_seconds": 1, "minimum": minimum, "maximum": maximum}
    for sensors in ([], [sensor("a"), sensor("b")]):
        raw = document(types={"probe": {"quantities": {"temperature": quantity}}}, sensors=sensors)
        path, value, problem = only(raw)
        assert path == "/types/probe/quantities/temperature"
        assert value == f"{float(minimum)} … {float(maximum)}"
        assert "minimum is not below maximum" in problem


def test_range_of_a_sensor():
    """An empty range in a sensor's quantities is reported at that sensor."""
    quantity = {"unit": "Cel", "interval_seconds": 1, "minimum": 2, "maximum": 1}
    raw = document(sensors=[sensor("a"), sensor("b", quantities={"temperature": quantity})])
    assert only(raw)[0] == "/sensors/1/quantities/temperature"


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
        ("0001-01-01T00:00:00+02:00", "outside the calendar"),
    ],
)
def test_bad_since(since, problem):
    """``since`` needs a zone and a valid calendar date."""
    path, value, reported = only(document(sensors=[sensor("a", since=since)]))
    assert (path, json.loads(value)) == ("/sensors/0/since", since)
    assert problem in reported


def test_since_in_any_zone():
    """``since`` is kept as an instant, whatever zone it is written in."""
    raw = document(sensors=[sensor("a", since="2020-01-01T02:00:00+02:00")])
    assert parse(json.dumps(raw).encode()).sensors[0].since == datetime(2020, 1, 1, tzinfo=UTC)


def test_duplicate_members():
    """A member that appears twice in an object is reported together with the other mistakes."""
    text = json.dumps(document(sensors=[sensor("a", type="prob")])).replace('"site"', '"area": "x", "site"')
    assert mistakes(text.encode()) == {
        "": ("'area'", "the member appears twice in one object; keep one of them"),
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
    """A file that is not a JSON object is one mistake with the position where parsing failed."""
    path, reported_value, reported = only(text)
    assert (path, reported_value) == ("", value)
    assert problem in reported


@pytest.mark.parametrize("name", ["site", "area", "description", "device"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_texts_the_database_can_hold(name, text):
    """A text that PostgreSQL cannot store is refused, with a printable message."""
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
    raw = document()
    raw["types"]["probe"]["format"] = {"name": "fields", member: "payload/x"}
    path, _, problem = only(raw)
    assert path == f"/types/probe/format/{member}"
    assert "write '/payload/x'" in problem


def pattern(**more) -> dict:
    """Return a valid entry of a sensor pattern that discovers."""
    return {"type": "probe", "site": "here", "area": "hall", "topic": "plant/{sensor}", "discover": True, **more}


def test_sensor_patterns():
    """An entry with discover or members is a sensor pattern; without discover its members are known from the start."""
    listed = pattern(
        topic="plant/x/{sensor}/#", sensor_id="x-{sensor}", discover=False, members={"a/b": {"area": "roof"}, "c": {}}
    )
    registry = parse(json.dumps(document(sensors=[sensor("a"), pattern(), listed])).encode())
    assert [sensor.sensor_id for sensor in registry.sensors] == ["a"]
    assert [entry.prototype.sensor_id for entry in registry.patterns] == ["{device}", "x-{sensor}"]
    assert [(member.sensor_id, member.device, member.topic, member.area) for member in registry.members] == [
        ("x-a-b", "a/b", "plant/x/a/b/#", "roof"),
        ("x-c", "c", "plant/x/c/#", "hall"),
    ]
    assert registry.sensor_of_pattern("plant/new", "new").sensor_id == "new"
    assert registry.sensor_of_pattern("plant/a", "a") is None
    assert registry.sensor_of_pattern("plant/x/stranger/y", "stranger") is None
    assert registry.sensor_of_pattern("elsewhere/new", "new") is None


def test_pattern_of_one_sensor():
    """One sensor may publish on many topics."""
    entry = sensor("a", topic="plant/a/{quantity}/#", format="value")
    assert [parsed.sensor_id for parsed in parse(json.dumps(document(sensors=[entry])).encode()).sensors] == ["a"]


@pytest.mark.parametrize(
    ("entry", "path", "problem"),
    [
        (pattern(discover=False), "", "Set discover to true"),
        (pattern(discover=False, sensor_id="x-{sensor}"), "", "list their names under members"),
        (sensor("a", topic="plant/{sensor}"), "/sensor_id", "one name for all sensors that {sensor}"),
        (pattern(sensor_id="one"), "/sensor_id", "one name for many sensors"),
        (pattern(sensor_id="{sensor}/x"), "/sensor_id", "names are letters, digits"),
        (pattern(sensor_id="{place}"), "/sensor_id", "the topic has no {place}"),
        (pattern(site="{place}"), "/site", "the topic has no {place}"),
        (pattern(area="{"), "/area", "correct the braces"),
        (pattern(device="x"), "/device", "name themselves"),
        (sensor("a", area="{area}"), "/area", "placeholders need discover or members"),
        (pattern(members={}), "/members", "at least 1 item"),
        (pattern(members={"a": {"are": "x"}}), "/members/a/are", "unknown member"),
        (pattern(discover=False, members={"°": {}}), "/members/°", "not a valid device name"),
        (
            pattern(topic="plant/{area}/{sensor}", area="{area}", discover=False, members={"a": {}}),
            "/area",
            "members are registered before their first message",
        ),
        (pattern(topic="plant/{sensor"), "/topic", "correct the braces"),
        (pattern(topic="other/{sensor}"), "/topic", "no filter under /subscribe covers it"),
        (pattern(topic="{sensor:path}"), "/topic", "no filter under /subscribe covers it"),
        (pattern(format="value"), "/topic", "needs {quantity} there"),
        (pattern(topic="plant/{quantity}", format="value"), "/topic", "names no sensor"),
        (pattern(format="tasmoto"), "/format", "no such format; known are fields"),
        (pattern(format={"name": "value", "unit_sufix": True}), "/format/unit_sufix", "unknown member"),
        (pattern(format=5), "/format", "valid dictionary"),
        ({"type": "probe", "site": "s", "area": "a", "topic": "plant/a"}, "/sensor_id", "is missing"),
    ],
)
def test_mistakes_of_sensor_patterns(entry, path, problem):
    """A mistake in the names of a sensor pattern is reported at its place, with the fix."""
    reported_path, _, reported = only(document(sensors=[entry]))
    assert reported_path == f"/sensors/0{path}"
    assert problem in reported


def test_two_of_one_name():
    """Members don't share an id with each other or with sensors that have their own entry."""
    listed = pattern(discover=False, members={"a": {}, "x y": {}, "x-y": {}}, topic="plant/x/{sensor}")
    by_path = mistakes(document(sensors=[sensor("a"), listed]))
    assert set(by_path) == {"/sensors/1/members/a", "/sensors/1/members/x-y"}
    assert "would be sensor a, which /sensors/0 is" in by_path["/sensors/1/members/a"][1]


def test_sensor_patterns_do_not_share_a_topic():
    """Two sensor patterns with the same topic, or a pattern and a sensor, are reported as one entry too many."""
    path, _, problem = only(document(sensors=[pattern(), pattern(area="other")]))
    assert path == "/sensors/1/topic"
    assert "make them one entry" in problem


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
    """A member of a quantity that contradicts its format or unit is reported."""
    quantities = {
        "a": {"unit": "Cel", "interval_seconds": 1, **({"source": "b"} if form != "fields" else {})},
        "c": {"unit": "Cel", "interval_seconds": 1, **more},
    }
    reported_path, _, reported = only(document(types={"probe": {"quantities": quantities, "format": form}}, sensors=[]))
    assert reported_path == "/types/probe/quantities/c" + path
    assert problem in reported


@pytest.mark.parametrize("own", [{}, {"discover": True, "sensor_id": "x-{device}"}])
def test_zone_of_a_format_that_has_its_own(own):
    """A zone that the format ignores is a mistake that names the right place."""
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
    """The error text has the file, the number of mistakes, and one line per mistake."""
    with pytest.raises(RegistryError) as caught:
        parse(json.dumps(document(sensors=[sensor("a", type="x"), sensor("b", latitude=100)])).encode(), "my.json")
    first, *lines = str(caught.value).splitlines()
    assert first == "my.json: 2 mistakes"
    assert all(line.startswith("  /sensors/") and "(found " in line for line in lines)
    assert len(lines) == 2


def test_file_that_is_not_there(tmp_path):
    """A missing file is an error with its name and the variable to set."""
    with pytest.raises(SettingError, match=r"nowhere\.json: No such file.*COLLECTOR_REGISTRY"):
        sensors_file.load(tmp_path / "nowhere.json")


def test_schema_is_committed():
    """The committed JSON Schema equals the generated one."""
    assert sensors_file.SCHEMA_FILE.read_text() == sensors_file.schema()


def test_sensors_json_of_the_repository():
    """The registry of the repository is valid and has the documented sensors."""
    registry = sensors_file.load(ROOT / "sensors.json")
    quantities = {name for listed in registry.sensors for name in listed.quantities}
    kinds = {sensor.type for sensor in registry.sensors}
    assert kinds >= {"thermostat", "barometer", "hygrometer", "heart_rate_meter", "motor"}
    assert quantities >= {"temperature", "pressure", "humidity", "heart_rate", "voltage"}
    assert all(listed.site and listed.area and listed.latitude is not None for listed in registry.sensors)


# MQTT 3.1.1, section 4.7: the examples of the standard, and its corner cases.
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
def test_filters_match_as_specified(pattern, topic, expected):
    """Wildcards match as MQTT 3.1.1 specifies."""
    assert topics.check_filter(pattern) == pattern
    assert (topics.Pattern.compile(pattern).match(topic) is not None) is expected
