"""Format ``things_stack``: uplinks of The Things Stack v3 (The Things Network, The Things Industries).

Message layout: https://www.thethingsindustries.com/docs/integrations/data-formats/; normalized payloads and their
units: https://www.thethingsindustries.com/docs/integrations/payload-formatters/javascript/uplink/.
"""

from typing import Any, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.history import HistoryOptions, take_history
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.name_patterns import Names, drop, matcher, take_objects
from collector.formats.times import ARRIVAL, Moment, moment
from collector.message import IgnoredReason, Message, NoReadingError, Reason, UndecodableError, UnusableError, quoted

_OTHER_EVENTS = (
    "join_accept",
    "downlink_ack",
    "downlink_nack",
    "downlink_sent",
    "downlink_failed",
    "downlink_queued",
    "downlink_queue_invalidated",
    "location_solved",
    "service_data",
    "uplink_normalized",
    "downlinks",
)

_NORMALIZED_UNITS = {
    "battery": "V", "soil/depth": "cm", "soil/moisture": "%", "soil/temperature": "Cel", "soil/ec": "dS/m",
    "soil/pH": "[pH]", "soil/n": "[ppm]", "soil/p": "[ppm]", "soil/k": "[ppm]", "air/pressure": "hPa",
    "air/relativeHumidity": "%", "air/temperature": "Cel", "air/co2": "[ppm]", "air/lightIntensity": "lx",
    "wind/direction": "deg", "wind/speed": "m/s", "rain/intensity": "mm/h", "rain/cumulative": "mm",
    "water/temperature/min": "Cel", "water/temperature/max": "Cel", "water/temperature/avg": "Cel",
    "water/temperature/current": "Cel", "metering/water/total": "L", "action/motion/count": "1",
    "position/latitude": "deg", "position/longitude": "deg",
}  # fmt: skip

_RADIO = {"rssi": None, "channel_rssi": None, "snr": "dB"}
"""Quantity → UCUM code; dBm has none."""


class ThingsStackFormat(FormatOptions):
    """Uplinks of The Things Stack v3; quantities are the members of the decoded payload."""

    unlisted = "ignore"

    name: Literal["things_stack"] = "things_stack"
    payload: Literal["decoded", "normalized"] = Field(
        "decoded",
        description="Which payload to read: decoded_payload, the result of the device's formatter, or "
        "normalized_payload, whose names and units are the same for all devices.",
    )
    time: Literal["network", "application", "arrival"] = Field(
        "network",
        description="Which clock gives the time: that of the network server (uplink_message.received_at), of the "
        "application server (received_at), or of the collector. Clocks of gateways are often wrong and are not used.",
    )
    radio: bool = Field(False, description="Also read signal strengths, as rx_metadata/0/rssi, rx_metadata/0/snr, …")
    history: HistoryOptions | None = Field(None, description="Where the decoded payload has earlier readings.")
    ignore: Names = Field((), description="Members of the decoded payload (with * and ?) that are not read.")
    device_keys: Names = Field(
        (),
        description="Names (with * and ?) of members of the decoded payload that are devices, as of a meter gateway; "
        "nested members are joined by slashes.",
    )

    def reader(self) -> Reader:
        """Return a reader for messages of this format."""
        return ThingsStackReader(self)


class ThingsStackReader:
    """Reads uplinks, including simulated ones; other events have no reading."""

    def __init__(self, options: ThingsStackFormat) -> None:
        self._normalized = options.payload == "normalized"
        self._time = options.time
        self._radio = options.radio
        self._history = options.history
        self._ignore = matcher(options.ignore)
        self._device_keys = matcher(options.device_keys)

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        document = json_tree.load_object(message.payload)
        uplink = document.get("uplink_message")
        if type(uplink) is not dict:
            for event in _OTHER_EVENTS:
                if event in document:
                    raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"{event}, no uplink")
            raise UndecodableError(Reason.MALFORMED, "not an event of The Things Stack")
        ids = document.get("end_device_ids")
        device = ids.get("device_id") if type(ids) is dict else None
        if type(device) is not str:
            device = ""
        time, problem = self._instant(document, uplink)
        measurements: list[Measurement] = []
        if self._normalized:
            measurements += _normalized(uplink.get("normalized_payload"), device, time, problem)
        elif type(payload := uplink.get("decoded_payload")) is dict:
            drop(payload, self._ignore)
            for part_device, part in (*take_objects(payload, self._device_keys), (device, payload)):
                measurements += take_history(part, self._history, part_device)
                measurements += json_tree.measurements(part, "", (time, problem), part_device)
        if self._radio:
            measurements += [
                Measurement(name, value, time, unit, device, problem) for name, value, unit in _radio(uplink)
            ]
        if not measurements:
            raise NoReadingError(
                IgnoredReason.NO_DECODED_PAYLOAD,
                "an uplink without a decoded payload: the device has no payload formatter, or it failed",
            )
        return measurements

    def _instant(self, document: dict[str, Any], uplink: dict[str, Any]) -> Moment:
        """Return the time of the chosen clock."""
        if self._time == "arrival":
            return ARRIVAL
        raw = uplink.get("received_at") if self._time == "network" else None
        return moment(document.get("received_at") if raw is None else raw, "iso8601")


def _normalized(items: Any, device: str, time: int | None, problem: UnusableError | None) -> list[Measurement]:
    """Return the measurements of a normalized payload, with one object per instant; some have no ``time``."""
    measurements: list[Measurement] = []
    for item in items if type(items) is list else ():
        if type(item) is not dict:
            wrong_type = UnusableError(Reason.WRONG_TYPE, f"expected an object, got {quoted(item)}")
            measurements.append(Measurement("", "", time, None, device, wrong_type))
            continue
        item_time, item_problem = moment(item["time"], "iso8601") if item.get("time") is not None else (time, problem)
        measurements += [
            Measurement(name, value, item_time, _NORMALIZED_UNITS.get(name), device, item_problem)
            for name, value in json_tree.leaves(item)
            if name != "time"
        ]
    return measurements


def _radio(uplink: dict[str, Any]) -> list[tuple[str, float, str | None]]:
    """Return quantity, value and unit of the signal strengths at each gateway."""
    receptions = uplink.get("rx_metadata")
    return [
        (f"rx_metadata/{index}/{name}", reception[name], unit)
        for index, reception in enumerate(receptions if type(receptions) is list else ())
        if type(reception) is dict
        for name, unit in _RADIO.items()
        if type(reception.get(name)) in (int, float)
    ]
