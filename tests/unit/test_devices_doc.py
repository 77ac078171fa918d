"""docs/devices.md: the lines to copy are right."""

import json
import re
from pathlib import Path

import pytest
from fix_formats import read, sample

from collector.formats.opcua_pubsub import OpcuaPubsubFormat
from collector.formats.shelly import ShellyFormat
from collector.formats.tasmota import TasmotaFormat
from collector.formats.thingsboard import ThingsboardFormat
from collector.formats.zigbee2mqtt import Zigbee2mqttFormat
from collector.formats.zwave_js import ZwaveJsFormat

TEXT = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
FORMATS = {
    form.model_fields["name"].default: form
    for form in (TasmotaFormat, Zigbee2mqttFormat, ShellyFormat, ZwaveJsFormat, ThingsboardFormat, OpcuaPubsubFormat)
}


def types() -> dict[str, dict]:
    """Return type name → type, of every block whose format is one of FORMATS."""
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)]
    found = {name: kind for block in blocks for name, kind in block["types"].items()}
    return {name: kind for name, kind in found.items() if options(kind)["name"] in FORMATS}


def options(kind: dict) -> dict:
    """Return the format's options with its name among them."""
    form = kind["format"]
    return {"name": form} if isinstance(form, str) else form


ZIGBEE = {"ZbReceived": {"0x2916": {"Device": "0x2916", "Temperature": 25.72, "Humidity": 47.73}}}
SWITCH = {
    "id": 0,
    "output": True,
    "apower": 8.9,
    "voltage": 237.5,
    "aenergy": {"total": 6.5},
    "temperature": {"tC": 42.4},
}
EM = {"emeter/0/power": b"12.3", "emeter/0/voltage": b"230.35", "relay/0": b"on"}
MULTISENSOR = {"sensor_multilevel/endpoint_0/Air_temperature": b"83.2", "sensor_binary/endpoint_0/Motion": b"true"}


def below(name: str, payloads: dict[str, bytes]) -> list:
    """Read payloads from topics below the device's."""
    return [one for rest, raw in payloads.items() for one in read(FORMATS[name](), f"a/{rest}", raw, {"#": rest})]


MEASURED = {
    "tasmota_climate": lambda: TasmotaFormat().reader().read(sample("tasmota_am2301_sensor"), {}),
    "tasmota_plug": lambda: [
        *TasmotaFormat().reader().read(sample("tasmota_energy_pow_r2"), {}),
        *TasmotaFormat().reader().read(sample("tasmota_deepsleep_state"), {}),
    ],
    "zigbee_climate": lambda: read(TasmotaFormat(), "tele/bridge/SENSOR", ZIGBEE),
    "zigbee": lambda: [
        *Zigbee2mqttFormat().reader().read(sample("zigbee2mqtt_wsdcgq01lm"), {}),
        *read(Zigbee2mqttFormat(), "zigbee2mqtt/a", {"battery": 97, "linkquality": 54}),
    ],
    "zigbee_switch": lambda: read(
        Zigbee2mqttFormat(), "zigbee2mqtt/a", {"state": "ON", "occupancy": True, "contact": False}
    ),
    "shelly_plug": lambda: read(
        ShellyFormat(), "a/events/rpc", {"method": "NotifyStatus", "params": {"ts": 1661517385.44, "switch:0": SWITCH}}
    ),
    "shelly_em": lambda: below("shelly", EM),
    "zwave_multisensor": lambda: below("zwave_js", MULTISENSOR),
    "thingsboard_climate": lambda: ThingsboardFormat().reader().read(sample("thingsboard_gateway_telemetry"), {}),
    "press": lambda: OpcuaPubsubFormat().reader().read(sample("opcua_pubsub_json_deltaframe", "opcua/a"), {}),
}


def test_complete():
    """Every type of a family's block is held against messages below."""
    assert set(types()) == set(MEASURED)


@pytest.mark.parametrize("name", MEASURED)
def test_sources(name):
    """The quantities a block names are what its devices' messages hold, and its format's options exist."""
    kind = types()[name]
    FORMATS[options(kind)["name"]].model_validate(options(kind))
    wanted = {quantity.get("source", own) for own, quantity in kind["quantities"].items()}
    assert wanted <= {one.quantity for one in MEASURED[name]()}
