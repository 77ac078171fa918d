"""docs/devices.md: the lines to copy for network servers, SenML, line protocol, Sparkplug, rtl_433 and Meshtastic."""

import json
import re
from pathlib import Path

import pytest
from fix_formats import ARRIVED, sample
from fix_sparkplug import encode

from collector.decode.decoder import Decoder
from collector.message import Message
from collector.registry import sensors_file
from collector.registry.discovery import UnregisteredError

TEXT = (Path(__file__).parents[3] / "docs" / "devices.md").read_text()

UPLINK = {
    "end_device_ids": {"device_id": "dev1"},
    "uplink_message": {"decoded_payload": {"temperature": 1.5, "humidity": 40, "bat_v": 3.3}},
}
CHIRPSTACK = "application/17c82e96/device/0101010101010101/event"
UP = {
    "deviceInfo": {"devEui": "0101010101010101"},
    "object": {"temperatureSensor": {"1": 25}, "humiditySensor": {"2": 32}},
}
PACK = [{"bn": "urn:dev:ow:1:", "n": "voltage", "u": "V", "v": 120.1}, {"n": "current", "u": "A", "v": 1.5, "s": 30},
        {"bn": "urn:dev:ow:1", "u": "%RH", "v": 20}]  # fmt: skip
LINES = b"system,host=a load1=0.5\nmem,host=a used_percent=12.5\n"
BIRTH = encode({"metrics": [{"name": "Flow", "alias": 1, "dataType": "Float", "value": 1.5},
                            {"name": "Inlet/Pressure", "alias": 2, "dataType": "Int16", "value": 3},
                            {"name": "Running", "alias": 3, "dataType": "Boolean", "value": True}]})  # fmt: skip
CLIMATE = {"time": "2024-01-11 09:34:50", "model": "Nexus-TH", "id": 115, "temperature_C": 21.5, "humidity": 40}
MESH = {"from": 7, "timestamp": 1763545627, "payload": {"temperature": 20.5, "relative_humidity": 50}}

EXAMPLES = [
    ("The Things Stack (The Things Network)", "v3/app1@tenant1/devices/dev1/up", UPLINK,
     {"dev1": {"temperature": 1.5, "humidity": 40, "battery": 3.3}}),
    ("ChirpStack", f"{CHIRPSTACK}/up", UP, {"0101010101010101": {"temperature": 25, "humidity": 32}}),
    ("ChirpStack", f"{CHIRPSTACK}/status", sample("chirpstack_status").payload,
     {"0101010101010101": {"margin": 10, "battery": 88.3}}),
    ("SenML (RFC 8428)", "senml/x", PACK,
     {"urn:dev:ow:1": {"voltage": 120.1, "current": 1.5, "charge": 30, "humidity": 20}}),
    ("InfluxDB line protocol (Telegraf)", "telegraf/x", LINES, {"a": {"load": 0.5, "memory": 12.5}}),
    ("Sparkplug B", "spBv1.0/plant/DBIRTH/edge/p1", BIRTH,
     {"plant-edge-p1": {"flow": 1.5, "pressure": 3, "running": 1}}),
    ("rtl_433", "rtl_433/x/events", CLIMATE, {"rtl-115": {"temperature": 21.5, "humidity": 40}}),
    ("Meshtastic", "msh/EU_868/2/json/LongFast/!ba0dd62c", sample("meshtastic_telemetry").payload,
     {"mesh-3121468972": {"voltage": 4.31599998474121, "battery": 101}}),
    ("Meshtastic", "msh/EU_868/2/json/LongFast/!ba0dd62c", MESH, {"mesh-7": {"temperature": 20.5, "humidity": 50}}),
]  # fmt: skip
"""Heading, topic, payload, and the expected readings: sensor → quantity → value."""


@pytest.mark.parametrize(("heading", "topic", "payload", "expected"), EXAMPLES)
def test_messages_become_readings(heading, topic, payload, expected):
    """The block under a heading decodes messages of its devices to the expected readings."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    decoder = Decoder(sensors_file.parse(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0].encode()), {})
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = Message(topic, raw, ARRIVED)
    with pytest.raises(UnregisteredError) as caught:
        decoder.decode(message)
    series = {}
    for registered, sensor, quantity in caught.value.discoveries:
        series[len(series) + 1] = (sensor.sensor_id, quantity)
        registered.record(sensor, quantity, len(series))
    readings, rejections, *_ = decoder.decode(message)
    assert rejections == []
    values: dict[str, dict[str, float]] = {}
    for series_id, _, value in readings:
        sensor_id, quantity = series[series_id]
        values.setdefault(sensor_id, {})[quantity] = value
    assert values == expected
