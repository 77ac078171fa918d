"""What is answered, as the API's description has it. The names are those of the columns in SQL."""

from datetime import date, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")

SENSOR = Field(description="The sensor that measures.", examples=["thermostat-1"])
QUANTITY = Field(description="What is measured.", examples=["temperature"])
UNIT = Field(description="UCUM code of the unit.", examples=["Cel"])
TIME = "2026-03-01T12:00:00Z"


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(description="Address of the next part; null: there is none.")


class Reading(BaseModel):
    """One raw reading, as it came."""

    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    time: datetime = Field(description="When it was measured.", examples=[TIME])
    value: float = Field(description="The measured value; true is 1, false is 0.", examples=[21.5])


class Window(BaseModel):
    """The readings of one series in one window of time."""

    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    bucket: datetime = Field(description="Start of the window; its width later it ends.", examples=[TIME])
    average: float = Field(description="Mean of all values, each reading with the same weight.", examples=[21.4])
    minimum: float = Field(description="Least value.", examples=[20.9])
    maximum: float = Field(description="Greatest value.", examples=[21.8])
    sample_count: int = Field(description="Number of readings.", examples=[10])


class Series(BaseModel):
    """One quantity of a sensor."""

    quantity: str = QUANTITY
    unit: str = UNIT
    minimum: float | None = Field(description="Least plausible value.", examples=[-20])
    maximum: float | None = Field(description="Greatest plausible value.", examples=[60])
    interval_seconds: float = Field(description="Expected time between readings.", examples=[1])
    kind: str = Field(description="number, or boolean: true and false stored as 1 and 0.", examples=["number"])
    series_id: int = Field(description="Its number in SQL.", examples=[1])
    retired_at: datetime | None = Field(description="When it was removed from the registry; null: in service.")


class Sensor(BaseModel):
    """One sensor, as the registry has it."""

    sensor_id: str = SENSOR
    type: str = Field(description="Kind of sensor.", examples=["thermostat"])
    site: str = Field(description="Where it is: the building, plant or other place.", examples=["athens"])
    area: str = Field(description="Where in the site it is.", examples=["hall-1"])
    latitude: float | None = Field(description="Degrees north, WGS 84.", examples=[37.9838])
    longitude: float | None = Field(description="Degrees east, WGS 84.", examples=[23.7275])
    topic: str = Field(description="MQTT topic it publishes on.", examples=["sensors/athens/hall-1/thermostat-1"])
    description: str = Field(description="What it is for.", examples=[""])
    discovered: bool = Field(description="Whether a message showed it; false: the registry names it.")
    retired_at: datetime | None = Field(description="When it was removed from the registry; null: in service.")
    series: list[Series] = Field(description="What it measures.")


class Check(BaseModel):
    """What a check of the data's quality found."""

    id: int = Field(description="Number of the result.", examples=[4711])
    checked_at: datetime = Field(description="When the scan began.", examples=[TIME])
    contract: str = Field(description="The contract that the check stands in.", examples=["reading"])
    dataset: str = Field(description="The checked table or view.", examples=["telemetry.reading"])
    column_name: str | None = Field(description="The checked column; null: whole rows.")
    check_name: str = Field(description="Name of the check.", examples=["silent"])
    check_type: str = Field(description="Kind of check.", examples=["metric"])
    outcome: str = Field(description="passed, failed, warned, or not evaluated with the reason.", examples=["passed"])
    measured_value: float | None = Field(description="What was measured.", examples=[0])
    threshold: str | None = Field(description="What would have passed, in words.", examples=["at most 60 s"])
    sensor_id: str | None = Field(description="The sensor it is about; null: all.", examples=["thermostat-1"])
    quantity: str | None = Field(description="The quantity it is about; null: all.", examples=["temperature"])


class QualityDay(BaseModel):
    """The quality indicator of a sensor on a day, with its parts."""

    day: date = Field(description="The day in UTC.", examples=["2026-03-01"])
    sensor_id: str = SENSOR
    type: str = Field(description="Kind of sensor.", examples=["thermostat"])
    site: str = Field(description="Where it was.", examples=["athens"])
    area: str = Field(description="Where in the site it was.", examples=["hall-1"])
    quality: float | None = Field(description="0 to 100.", examples=[99.2])
    completeness: float | None = Field(description="Received of what was expected, 0 to 1.", examples=[0.99])
    validity: float | None = Field(description="Share within the plausible range and not held back.", examples=[1])
    timeliness: float | None = Field(description="Share that came in time.", examples=[1])
    uniqueness: float | None = Field(description="Share that no other value contradicts.", examples=[1])
    checks_passed: float | None = Field(description="Share of the checks that passed.", examples=[1])
    sample_count: int = Field(description="Readings of the day.", examples=[86_400])
    expected_count: float | None = Field(description="Readings that were due.", examples=[86_400])


class LoadCycle(BaseModel):
    """One load cycle: from where the load set in to where it was gone."""

    started_at: datetime = Field(description="When the load set in.", examples=[TIME])
    ended_at: datetime = Field(description="When it was gone.", examples=["2026-03-01T12:20:00Z"])
    sensor_id: str = Field(description="The sensor that measures.", examples=["motor-1"])
    quantity: str = Field(description="What is measured.", examples=["voltage"])
    unit: str = Field(description="UCUM code of the unit.", examples=["V"])
    site: str = Field(description="Where the sensor was.", examples=["patras"])
    area: str = Field(description="Where in the site it was.", examples=["line-1"])
    duration_seconds: float = Field(description="From start to end.", examples=[1200])
    idle_before_seconds: float | None = Field(description="Without load before it; null: not known.", examples=[2400])
    mean: float = Field(description="Mean of the readings under load.", examples=[16.1])
    peak: float = Field(description="Greatest reading.", examples=[16.9])
    base: float = Field(description="Idle level of the day.", examples=[12])
    rise: float = Field(description="peak - base.", examples=[4.9])
    integral: float = Field(description="Value times seconds.", examples=[19_320])
    integral_above_base: float = Field(description="The part above the idle level.", examples=[4920])
    sample_count: int = Field(description="Readings in it.", examples=[1200])
    completeness: float = Field(description="Received of what was due, 0 to 1.", examples=[1])
    is_complete: bool = Field(description="Whether start and end were seen and no gap lies within.")
    series_id: int = Field(description="Number of the series in SQL.", examples=[5])


class Anomaly(BaseModel):
    """Something out of the ordinary, and why it counts as that."""

    started_at: datetime = Field(description="When it began.", examples=[TIME])
    ended_at: datetime = Field(description="When it ended; while it is open, as far as is known.")
    sensor_id: str = SENSOR
    quantity: str = QUANTITY
    unit: str = UNIT
    site: str = Field(description="Where the sensor was.", examples=["athens"])
    area: str = Field(description="Where in the site it was.", examples=["hall-1"])
    kind: str = Field(description="seasonal, level_shift, flat_line or gap.", examples=["seasonal"])
    basis: str = Field(description="What it was compared with.", examples=["same_hour"])
    observed: float | None = Field(description="What was seen in the worst hour.", examples=[35.1])
    expected: float | None = Field(description="What would have been ordinary.", examples=[21.4])
    deviation: float | None = Field(description="Robust sigmas between the two.", examples=[9.7])
    duration_hours: float = Field(description="From start to end.", examples=[2])
    is_open: bool = Field(description="Whether it goes on as far as is known.")
    reason: str = Field(description="Why it is one, in a sentence with the figures.")
    series_id: int = Field(description="Number of the series in SQL.", examples=[1])


class Column(BaseModel):
    """One column of a table or view."""

    name: str = Field(examples=["value"])
    type: str = Field(description="PostgreSQL's name of the type.", examples=["double precision"])
    nullable: bool = Field(description="Whether it may be null; of a view, not known and true.")
    description: str | None = Field(examples=["The measured value in the unit of its series."])


class Relation(BaseModel):
    """One table or view that can be queried by SQL."""

    name: str = Field(description="With its schema.", examples=["marts.fct_reading_day"])
    kind: str = Field(description="table or view.", examples=["table"])
    description: str | None = Field(description="What a row is, and what to know about it.")
    owner: str = Field(description="The role in the database that it belongs to: who builds it.", examples=["dbt"])
    readers: list[str] = Field(description="The roles that may read it.", examples=[["bi_reader", "data_scientist"]])
    columns: list[Column]


class Accounting(BaseModel):
    """Where every message and every reading went, since the beginning."""

    messages: int = Field(description="Messages taken in: decoded + ignored + quarantined_messages.")
    decoded: int = Field(description="Messages that yielded readings.")
    ignored: int = Field(description="Messages that rightly yield no reading.")
    quarantined_messages: int = Field(description="Messages that could not be decoded at all.")
    readings: int = Field(description="Readings decoded: stored + duplicate + quarantined_readings.")
    stored: int = Field(description="Readings new in telemetry.reading.")
    duplicate: int = Field(description="Readings that were there already with the same value.")
    quarantined_readings: int = Field(description="Readings held back.")
    balanced: bool = Field(description="True, always: else there is a defect.")


class WideReading(BaseModel):
    """A reading whose quantities are members: any names, each a number, or true or false."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "boolean"}]},
            "examples": [{"device_id": "porch", "timestamp": TIME, "temperature": 21.5, "tag": "garden"}],
        },
    )

    device_id: str = Field(description="The device's name.", pattern=r"^[\w.:-]{1,100}$", examples=["porch"])
    timestamp: datetime = Field(description="When it was measured, with Z or an offset.", examples=[TIME])
    tag: str | None = Field(None, description="Anything; kept in the archive of raw messages.", examples=["garden"])


class NarrowReading(BaseModel):
    """A reading that names one quantity."""

    model_config = ConfigDict(extra="forbid")

    device_id: str = Field(description="The device's name.", pattern=r"^[\w.:-]{1,100}$", examples=["porch"])
    timestamp: datetime = Field(description="When it was measured, with Z or an offset.", examples=[TIME])
    sensor: str = Field(description="The quantity.", examples=["temperature"])
    value: float | bool = Field(description="The value.", examples=[21.5])
    tag: str | None = Field(None, description="Anything; kept in the archive of raw messages.", examples=["garden"])


class Accepted(BaseModel):
    """What the broker has taken; the collector stores it, usually within a second."""

    accepted: int = Field(description="Readings.", examples=[1])
    messages: int = Field(description="MQTT messages that they went out in.", examples=[1])


class Mistake(BaseModel):
    """One mistake of a request."""

    detail: str = Field(description="What is wrong.", examples=["a number, or true or false, is due"])
    pointer: str | None = Field(None, description="Where in the body: a JSON Pointer.", examples=["#/0/temperature"])
    parameter: str | None = Field(None, description="In which parameter.", examples=["from"])


class Problem(BaseModel):
    """Why a request was not answered as asked (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Which kind of problem; the address explains it.", examples=["/problems/not-found"])
    title: str = Field(description="The kind in words.", examples=["Not found"])
    status: int = Field(description="The status of the answer.", examples=[404])
    detail: str = Field(description="What happened here.", examples=["There is no sensor 'porch'."])
    instance: str = Field(description="The path that was asked.", examples=["/readings"])
    errors: list[Mistake] | None = Field(None, description="Single mistakes.")
    accepted: list[int] | None = Field(
        None, description="POST /readings: the readings, counted from 0, that the broker has all the same."
    )


def columns(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the columns of a list of ``model``."""
    return tuple(model.model_fields)


Row = tuple[Any, ...]
