"""The list of all formats that ``sensors.json`` may name."""

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from collector.formats.chirpstack import ChirpstackFormat
from collector.formats.fields import FieldsFormat
from collector.formats.influx import InfluxFormat
from collector.formats.opcua_pubsub import OpcuaPubsubFormat
from collector.formats.senml import SenmlFormat
from collector.formats.shelly import ShellyFormat
from collector.formats.sparkplug.reader import SparkplugFormat
from collector.formats.tasmota import TasmotaFormat
from collector.formats.things_stack import ThingsStackFormat
from collector.formats.thingsboard import ThingsboardFormat
from collector.formats.value import ValueFormat
from collector.formats.zigbee2mqtt import Zigbee2mqttFormat
from collector.formats.zwave_js import ZwaveJsFormat

_Options = Annotated[
    FieldsFormat
    | ValueFormat
    | ChirpstackFormat
    | InfluxFormat
    | OpcuaPubsubFormat
    | SenmlFormat
    | ShellyFormat
    | SparkplugFormat
    | TasmotaFormat
    | ThingsStackFormat
    | ThingsboardFormat
    | Zigbee2mqttFormat
    | ZwaveJsFormat,
    Field(discriminator="name"),
]

FORMATS: tuple[str, ...] = tuple(options.model_fields["name"].default for options in get_args(get_args(_Options)[0]))
"""Names of all formats."""


def _spelled_out(raw: Any) -> Any:
    """Return the long form of a format: a text is its name, and options without a name are those of ``fields``."""
    if isinstance(raw, str):
        raw = {"name": raw}
    if isinstance(raw, dict) and "name" not in raw:
        raw = {"name": "fields", **raw}
    if isinstance(raw, dict) and raw["name"] not in FORMATS:
        raise ValueError(f"no such format; known are {', '.join(FORMATS)}")
    return raw


Format = Annotated[_Options, BeforeValidator(_spelled_out)]
"""A format with its options: ``{"name": "value", "unit_suffix": true}``, or its name alone."""
