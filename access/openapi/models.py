"""Response models of the OpenAPI description. Field names are the column names in SQL."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")

SENSOR = Field(description="Sensor id.", examples=["thermostat-1"])
QUANTITY = Field(description="Measured quantity.", examples=["temperature"])
UNIT = Field(description="UCUM code of the unit.", examples=["Cel"])
TIME = "2026-03-01T12:00:00Z"


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(description="URL of the next page; null on the last page.")


class Reading(BaseModel):
    """One raw reading, as received."""

    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    time: datetime = Field(description="Time of the measurement.", examples=[TIME])
    value: float = Field(description="Measured value; true is 1, false is 0.", examples=[21.5])


class Window(BaseModel):
    """The readings of one series in one window of time."""

    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    bucket: datetime = Field(description="Start of the window.", examples=[TIME])
    average: float = Field(description="Mean of all values, unweighted.", examples=[21.4])
    minimum: float = Field(description="Minimum value.", examples=[20.9])
    maximum: float = Field(description="Maximum value.", examples=[21.8])
    sample_count: int = Field(description="Number of readings.", examples=[10])


class Series(BaseModel):
    """One quantity of a sensor."""

    quantity: str = QUANTITY
    unit: str = UNIT
    minimum: float | None = Field(description="Lowest plausible value.", examples=[-20])
    maximum: float | None = Field(description="Highest plausible value.", examples=[60])
    interval_seconds: float = Field(description="Expected time between readings.", examples=[1])
    kind: str = Field(description="number, or boolean (true and false, stored as 1 and 0).", examples=["number"])
    series_id: int = Field(description="Id of the series in SQL.", examples=[1])
    retired_at: datetime | None = Field(description="Time of removal from the registry; null: active.")


class Sensor(BaseModel):
    """One sensor of the registry."""

    sensor_id: str = SENSOR
    type: str = Field(description="Kind of sensor.", examples=["thermostat"])
    site: str = Field(description="Building, plant or other place.", examples=["athens"])
    area: str = Field(description="Area within the site.", examples=["hall-1"])
    latitude: float | None = Field(description="Degrees north, WGS 84.", examples=[37.9838])
    longitude: float | None = Field(description="Degrees east, WGS 84.", examples=[23.7275])
    topic: str = Field(description="MQTT topic it publishes on.", examples=["sensors/athens/hall-1/thermostat-1"])
    description: str = Field(description="Description of the sensor.", examples=[""])
    discovered: bool = Field(
        description="true: registered automatically from a message; false: from the registry file."
    )
    retired_at: datetime | None = Field(description="Time of removal from the registry; null: active.")
    series: list[Series] = Field(description="Measured quantities.")


class Check(BaseModel):
    """Result of a quality check."""

    id: int = Field(description="Id of the result.", examples=[4711])
    checked_at: datetime = Field(description="Start of the scan.", examples=[TIME])
    contract: str = Field(description="Contract of the check.", examples=["reading"])
    dataset: str = Field(description="Checked table or view.", examples=["telemetry.reading"])
    column_name: str | None = Field(description="Checked column; null: the whole table.")
    check_name: str = Field(description="Name of the check.", examples=["silent"])
    check_type: str = Field(description="Kind of check.", examples=["metric"])
    outcome: str = Field(
        description="passed, failed, warned, nothing to check, or not evaluated with the reason.", examples=["passed"]
    )
    measured_value: float | None = Field(description="Measured value of the check.", examples=[0])
    threshold: str | None = Field(description="Condition for passing.", examples=["at most 60 s"])
    sensor_id: str | None = Field(description="Checked sensor; null: all.", examples=["thermostat-1"])
    quantity: str | None = Field(description="Checked quantity; null: all.", examples=["temperature"])


class QualityDay(BaseModel):
    """The quality indicator of a sensor on a day, with its parts."""

    day: date = Field(description="Day in UTC.", examples=["2026-03-01"])
    sensor_id: str = SENSOR
    type: str = Field(description="Kind of sensor.", examples=["thermostat"])
    site: str = Field(description="Site of the sensor.", examples=["athens"])
    area: str = Field(description="Area within the site.", examples=["hall-1"])
    quality: float | None = Field(description="Quality indicator, 0 to 100.", examples=[99.2])
    completeness: float | None = Field(
        description="Received readings divided by expected readings, 0 to 1.", examples=[0.99]
    )
    validity: float | None = Field(
        description="Share of readings within the plausible range and not quarantined.", examples=[1]
    )
    timeliness: float | None = Field(description="Share of readings received in time.", examples=[1])
    uniqueness: float | None = Field(description="Share of readings without a conflicting value.", examples=[1])
    checks_passed: float | None = Field(description="Share of passed checks.", examples=[1])
    sample_count: int = Field(description="Number of readings on the day.", examples=[86_400])
    expected_count: float | None = Field(description="Number of expected readings.", examples=[86_400])


class LoadCycle(BaseModel):
    """One load cycle, from load start to load end."""

    started_at: datetime = Field(description="Start of the load.", examples=[TIME])
    ended_at: datetime = Field(description="End of the load.", examples=["2026-03-01T12:20:00Z"])
    sensor_id: str = Field(description="Sensor id.", examples=["motor-1"])
    quantity: str = Field(description="Measured quantity.", examples=["voltage"])
    unit: str = Field(description="UCUM code of the unit.", examples=["V"])
    site: str = Field(description="Site of the sensor.", examples=["patras"])
    area: str = Field(description="Area within the site.", examples=["line-1"])
    duration_seconds: float = Field(description="Time from start to end.", examples=[1200])
    idle_before_seconds: float | None = Field(
        description="Time without load before the cycle; null: unknown.", examples=[2400]
    )
    mean: float = Field(description="Mean value under load.", examples=[16.1])
    peak: float = Field(description="Maximum value.", examples=[16.9])
    base: float = Field(description="Idle level of the day.", examples=[12])
    rise: float = Field(description="peak - base.", examples=[4.9])
    integral: float = Field(description="Integral of the value over time, in unit times seconds.", examples=[19_320])
    integral_above_base: float = Field(description="Integral above the idle level.", examples=[4920])
    sample_count: int = Field(description="Number of readings.", examples=[1200])
    completeness: float = Field(description="Received readings divided by expected readings, 0 to 1.", examples=[1])
    is_complete: bool = Field(description="Whether start and end were observed, without a gap between.")
    series_id: int = Field(description="Id of the series in SQL.", examples=[5])


class Anomaly(BaseModel):
    """One anomaly and its explanation."""

    started_at: datetime = Field(description="Start of the anomaly.", examples=[TIME])
    ended_at: datetime = Field(description="End of the anomaly; while open, the end of the observed time.")
    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    site: str = Field(description="Site of the sensor.", examples=["athens"])
    area: str = Field(description="Area within the site.", examples=["hall-1"])
    kind: str = Field(description="seasonal, level_shift, flat_line or gap.", examples=["seasonal"])
    basis: str = Field(description="Basis of comparison.", examples=["same_hour"])
    observed: float | None = Field(description="Observed value in the most deviating hour.", examples=[35.1])
    expected: float | None = Field(description="Expected value.", examples=[21.4])
    deviation: float | None = Field(
        description="Difference of observed and expected, in robust standard deviations.", examples=[9.7]
    )
    duration_hours: float = Field(description="Time from start to end.", examples=[2])
    is_open: bool = Field(description="Whether the anomaly is ongoing.")
    reason: str = Field(description="Explanation in one sentence with the figures.")
    series_id: int = Field(description="Id of the series in SQL.", examples=[1])


class Column(BaseModel):
    """One column of a table or view."""

    name: str = Field(examples=["value"])
    type: str = Field(description="PostgreSQL type.", examples=["double precision"])
    nullable: bool = Field(description="Whether the column may be null; always true for views.")
    description: str | None = Field(examples=["The measured value in the unit of its series."])


class Relation(BaseModel):
    """One table or view that can be queried by SQL."""

    name: str = Field(description="Qualified name.", examples=["marts.fct_reading_day"])
    kind: str = Field(description="table or view.", examples=["table"])
    description: str | None = Field(description="Grain and meaning of the rows.")
    owner: str = Field(description="Database role that owns and builds it.", examples=["dbt"])
    readers: list[str] = Field(
        description="Database roles that may read it.", examples=[["bi_reader", "data_scientist"]]
    )
    columns: list[Column]


class Accounting(BaseModel):
    """Message accounting since the first start."""

    messages: int = Field(description="Received messages: decoded + ignored + quarantined_messages.")
    decoded: int = Field(description="Messages with readings.")
    ignored: int = Field(description="Valid messages without readings.")
    quarantined_messages: int = Field(description="Messages that could not be decoded at all.")
    readings: int = Field(description="Readings decoded: stored + duplicate + replaced + quarantined_readings.")
    stored: int = Field(description="Readings inserted into telemetry.reading.")
    duplicate: int = Field(description="Readings that were already stored with the same value.")
    replaced: int = Field(description="Readings that replaced the value of their timestamp, or were older than it.")
    quarantined_readings: int = Field(description="Readings in quarantine.")
    balanced: bool = Field(description="Whether both sums are equal; false is a bug.")


class WideReading(BaseModel):
    """A reading with quantities as members: any names, each value a number or boolean."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "boolean"}]},
            "examples": [{"device_id": "porch", "timestamp": TIME, "temperature": 21.5, "tag": "garden"}],
        },
    )

    device_id: str = Field(description="Device name.", pattern=r"^[\w.:-]{1,100}$", examples=["porch"])
    timestamp: datetime = Field(description="Time of the measurement, with Z or an offset.", examples=[TIME])
    tag: str | None = Field(
        None, description="Free text; kept only in the archive of raw messages.", examples=["garden"]
    )


class NarrowReading(BaseModel):
    """A reading of one quantity."""

    model_config = ConfigDict(extra="forbid")

    device_id: str = Field(description="Device name.", pattern=r"^[\w.:-]{1,100}$", examples=["porch"])
    timestamp: datetime = Field(description="Time of the measurement, with Z or an offset.", examples=[TIME])
    sensor: str = Field(description="Measured quantity.", examples=["temperature"])
    value: float | bool = Field(description="Measured value.", examples=[21.5])
    tag: str | None = Field(
        None, description="Free text; kept only in the archive of raw messages.", examples=["garden"]
    )


class Accepted(BaseModel):
    """Accepted readings; the collector stores them, usually within a second."""

    accepted: int = Field(description="Number of readings.", examples=[1])
    messages: int = Field(description="Number of published MQTT messages.", examples=[1])


class Mistake(BaseModel):
    """One mistake in a request."""

    detail: str = Field(description="Description of the mistake.", examples=["expected a number or a boolean"])
    pointer: str | None = Field(None, description="Place in the body: a JSON Pointer.", examples=["#/0/temperature"])
    parameter: str | None = Field(None, description="Name of the parameter.", examples=["from"])


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Kind of problem; the URL explains it.", examples=["/problems/not-found"])
    title: str = Field(description="Title of the kind.", examples=["Not found"])
    status: int = Field(description="Status of the response.", examples=[404])
    detail: str = Field(description="Description of this occurrence.", examples=["There is no sensor 'porch'."])
    instance: str = Field(description="Path of the request.", examples=["/readings"])
    errors: list[Mistake] | None = Field(None, description="List of mistakes.")
    accepted: list[int] | None = Field(
        None, description="POST /readings: positions, counted from 0, of the readings that the broker acknowledged."
    )


def columns(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the column names of a list of ``model``."""
    return tuple(model.model_fields)


Row = tuple[Any, ...]
