"""Format ``things_stack``: uplinks of The Things Stack v3 (The Things Network, The Things Industries).

Message layout: https://www.thethingsindustries.com/docs/integrations/data-formats/; normalized payloads and their
units: https://www.thethingsindustries.com/docs/integrations/payload-formatters/javascript/uplink/.
"""

from typing import Any, Literal

from pydantic import Field

from collector.formats import json_tree
from collector.formats.measurement import FormatOptions, Measurement, Reader, Topic
from collector.formats.times import iso8601
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
"""Quantity → UCUM code, which dBm has none of."""


class ThingsStackFormat(FormatOptions):
    """Uplinks of The Things Stack v3; quantities are the members of the decoded payload."""

    unlisted = "ignore"

    name: Literal["things_stack"] = "things_stack"
    payload: Literal["decoded", "normalized"] = Field(
        "decoded",
        description="Which payload to read: decoded_payload, what the device's formatter returns, or "
        "normalized_payload, whose names and units are the same for all devices.",
    )
    time: Literal["network", "application", "arrival"] = Field(
        "network",
        description="Which clock counts: that of the network server (uplink_message.received_at), of the application "
        "server (received_at), or of the collector. The clocks of gateways are often wrong, so they don't.",
    )
    radio: bool = Field(False, description="Signal strengths too, as rx_metadata/0/rssi, rx_metadata/0/snr, …")

    def reader(self) -> Reader:
        """Return a reader for uplinks."""
        return ThingsStackReader(self)


class ThingsStackReader:
    """Reads uplinks, also simulated ones; all other events carry no reading."""

    def __init__(self, options: ThingsStackFormat) -> None:
        self._normalized = options.payload == "normalized"
        self._time = options.time
        self._radio = options.radio

    def read(self, message: Message, topic: Topic) -> list[Measurement]:  # noqa: ARG002 - the contract
        """Return the measurements; raises :class:`UndecodableError` or :class:`NoReadingError`."""
        document = json_tree.load_object(message.payload)
        uplink = document.get("uplink_message")
        if type(uplink) is not dict:
            for event in _OTHER_EVENTS:
                if event in document:
                    raise NoReadingError(IgnoredReason.NOT_TELEMETRY, f"{event}, no uplink")
            raise UndecodableError(Reason.MALFORMED, "neither an uplink of The Things Stack nor another event of it")
        ids = document.get("end_device_ids")
        device = ids.get("device_id") if type(ids) is dict else None
        if type(device) is not str:
            device = ""
        time, problem = self._instant(document, uplink)
        found: list[Measurement] = []
        if self._normalized:
            _add_normalized(uplink.get("normalized_payload"), device, time, problem, found)
        elif type(payload := uplink.get("decoded_payload")) is dict:
            found += [
                Measurement(name, value, time, None, device, problem) for name, value in json_tree.leaves(payload)
            ]
        if self._radio:
            found += [Measurement(name, value, time, unit, device, problem) for name, value, unit in _radio(uplink)]
        if not found:
            raise NoReadingError(
                IgnoredReason.NO_DECODED_PAYLOAD,
                "an uplink without a decoded payload: the device has no payload formatter, or it failed",
            )
        return found

    def _instant(self, document: dict[str, Any], uplink: dict[str, Any]) -> tuple[int | None, UnusableError | None]:
        """Return the time that counts, and why there is none; an empty one is the arrival's."""
        if self._time == "arrival":
            return None, None
        raw = uplink.get("received_at") if self._time == "network" else None
        return _parsed(document.get("received_at") if raw is None else raw)


def _parsed(raw: Any) -> tuple[int | None, UnusableError | None]:
    try:
        return (None if raw is None else iso8601(raw, None)), None
    except UnusableError as error:
        return None, error


def _add_normalized(
    items: Any, device: str, time: int | None, problem: UnusableError | None, found: list[Measurement]
) -> None:
    """Add what the normalizer made, one object an instant; ``time`` is for those without one of their own."""
    for item in items if type(items) is list else ():
        if type(item) is not dict:
            found.append(Measurement("", "", time, None, device, UnusableError(Reason.WRONG_TYPE, f"{quoted(item)}")))
            continue
        own, wrong = _parsed(item["time"]) if item.get("time") is not None else (time, problem)
        found += [
            Measurement(name, value, own, _NORMALIZED_UNITS.get(name), device, wrong)
            for name, value in json_tree.leaves(item)
            if name != "time"
        ]


def _radio(uplink: dict[str, Any]) -> list[tuple[str, float, str | None]]:
    """Return the signal strengths at each gateway: quantity, value, unit."""
    receptions = uplink.get("rx_metadata")
    return [
        (f"rx_metadata/{index}/{name}", reception[name], unit)
        for index, reception in enumerate(receptions if type(receptions) is list else ())
        if type(reception) is dict
        for name, unit in _RADIO.items()
        if type(reception.get(name)) in (int, float)
    ]
