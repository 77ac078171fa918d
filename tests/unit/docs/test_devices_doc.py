"""docs/devices.md: each block is valid, and messages of its devices become the sensors and quantities it lists."""

import json
import re
from pathlib import Path

import orjson
import pytest
from fix_formats import ARRIVED, sample

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

TEXT = (Path(__file__).parents[3] / "docs" / "devices.md").read_text()
BLOCKS = re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def block(name: str) -> str:
    """Return the registry that has the type ``name``."""
    (text,) = [text for text in BLOCKS if name in json.loads(text)["types"]]
    return text


def discovered(text: str, messages: list[Message]) -> set[tuple[str, str]]:
    """Return sensor and quantity of every series that ``messages`` discover."""
    decoder = Decoder(sensors_file.parse(text.encode()), {})
    series = set()
    for arrived in messages:
        with pytest.raises(UnregisteredError) as caught:
            decoder.decode(arrived)
        series |= {(discovery.sensor.sensor_id, discovery.quantity) for discovery in caught.value.discoveries}
    return series


def message(topic: str, payload: object) -> Message:
    """Return a message with a payload, given as bytes or as a JSON document."""
    return Message(topic, payload if isinstance(payload, bytes) else orjson.dumps(payload), ARRIVED)


def sample_on(topic: str, name: str) -> Message:
    """Return a sample on another topic."""
    return sample(name)._replace(topic=topic)


ZIGBEE = {"ZbReceived": {"0x2916": {"Device": "0x2916", "Name": "hall", "Temperature": 25.72, "Humidity": 47.73}}}
SWITCH = {
    "id": 0,
    "output": True,
    "apower": 8.9,
    "voltage": 237.5,
    "aenergy": {"total": 6.5},
    "temperature": {"tC": 42.4},
}
NOTIFICATION = {"src": "x", "method": "NotifyStatus", "params": {"ts": 1661517385.44, "switch:0": SWITCH}}
NODE = "zwave/hall/node"

EXPECTED = {
    "tasmota_climate": ([sample_on("tele/attic/SENSOR", "tasmota_am2301_sensor")], "attic: temperature humidity"),
    "tasmota_plug": (
        [
            sample_on("tele/attic/SENSOR", "tasmota_energy_pow_r2"),
            sample_on("tele/attic/STATE", "tasmota_deepsleep_state"),
        ],
        "attic: power energy on",
    ),
    "zigbee_climate": ([message("tele/zigbee-bridge/SENSOR", ZIGBEE)], "hall: temperature humidity"),
    "zigbee": (
        [
            sample_on("zigbee2mqtt/attic/climate", "zigbee2mqtt_wsdcgq01lm"),
            message("zigbee2mqtt/attic/climate", {"battery": 97, "linkquality": 54}),
        ],
        "attic-climate: temperature humidity battery linkquality",
    ),
    "zigbee_switch": (
        [message("zigbee2mqtt/plug/lamp", {"state": "ON", "occupancy": True, "contact": False})],
        "lamp: on occupancy contact",
    ),
    "shelly_plug": ([message("plug/events/rpc", NOTIFICATION)], "plug: power voltage energy on temperature"),
    "shelly_em": (
        [
            message("shellies/em/emeter/0/power", b"12.3"),
            message("shellies/em/emeter/0/voltage", b"230.35"),
            message("shellies/em/relay/0", b"on"),
        ],
        "em: power voltage on",
    ),
    "zwave_multisensor": (
        [
            sample_on(f"{NODE}/sensor_multilevel/endpoint_0/Air_temperature", "zwavejs_time_value"),
            message(f"{NODE}/sensor_binary/endpoint_0/Motion", b"true"),
        ],
        "node: temperature motion",
    ),
    "thingsboard_climate": (
        [sample("thingsboard_gateway_telemetry")],
        "Device-A: temperature humidity; Device-B: temperature humidity",
    ),
    "press": ([sample_on("opcua/line1", "opcua_pubsub_json_deltaframe")], "1000: steps running"),
}


@pytest.mark.parametrize("text", BLOCKS)
def test_blocks_are_valid(text):
    """Every block is a registry without mistakes."""
    assert sensors_file.parse(text.encode())


@pytest.mark.parametrize("name", EXPECTED)
def test_messages_become_quantities(name):
    """Real messages on the block's topics become its sensors' quantities."""
    messages, text = EXPECTED[name]
    expected = {
        (sensor, quantity)
        for part in text.split("; ")
        for sensor, _, names in [part.partition(": ")]
        for quantity in names.split()
    }
    assert discovered(block(name), messages) == expected
