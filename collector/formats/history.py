"""Lists of earlier readings inside a message: objects with their own times."""

from collections.abc import Set as AbstractSet
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from collector.formats import json_payload, json_tree, numeric_text
from collector.formats.json_payload import MISSING
from collector.formats.measurement import Measurement
from collector.formats.times import Moment, moment
from collector.message import Reason, UnusableError, quoted

TIME_NAMES = frozenset((
    "timestamp", "time", "ts", "date", "datetime", "date_time", "epoch", "unixtime",
    "measured_at", "recorded_at", "created_at", "utc",
))  # fmt: skip
"""Members, in lower case, that name the time of a reading."""


class HistoryOptions(BaseModel):
    """Where a message has its earlier readings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    list: str = Field(min_length=1, description="Name of the list, nested members joined by slashes.")
    time: str = Field("timestamp", min_length=1, description="Member of each of its objects with the time.")
    time_unit: Literal["iso8601", "s", "ms", "us", "ns"] = Field(
        "s", description="Form of the time: ISO 8601 text, or a number of these units since 1970-01-01 UTC."
    )


def take_history(tree: dict[str, Any], options: HistoryOptions | None, device: str) -> list[Measurement]:
    """Take the lists of earlier readings out of ``tree``; return their measurements, or why they are none."""
    if options is None:
        return [
            Measurement("", "", None, None, device, problem)
            for name, records in tree.items()
            if (problem := history_problem(name, records, f'"history": {{"list": "{name}"}}', None)) is not None
        ]
    *above, last = options.list.split("/")
    parent = json_payload.find(tree, tuple(above))
    records = parent.pop(last, None) if type(parent) is dict else None
    measured: list[Measurement] = []
    for record in records if type(records) is list else ():
        if type(record) is dict:
            time, problem = _time(record, options)
            measured += json_tree.measurements(record, "", (time, problem), device)
    return measured


def _time(record: dict[str, Any], options: HistoryOptions) -> Moment:
    raw = record.pop(options.time, MISSING)
    if raw is MISSING or raw is None:
        return None, UnusableError(Reason.MISSING_TIME, f"no {quoted(options.time)} in an earlier reading")
    return moment(raw, options.time_unit)


def history_problem(name: str, records: Any, option: str, quantities: AbstractSet[str] | None) -> UnusableError | None:
    """Return the problem of a list that looks like earlier readings and is not configured; None: it does not.

    ``quantities``: names of values; None: any member that is a number is one. ``option``: the text to add.
    """
    if type(records) is not list or not records or type(first := records[0]) is not dict:
        return None
    if TIME_NAMES.isdisjoint(map(str.lower, first)):
        return None
    values = [key for key, raw in first.items() if key.lower() not in TIME_NAMES and _is_number(raw)]
    if not (values if quantities is None else quantities & set(first)):
        return None
    problem = UnusableError(
        Reason.UNKNOWN_QUANTITY,
        f"{quoted(name)} is a list of {len(records)} earlier readings with their times; to read it add {option} "
        "to the format",
    )
    problem.readings = len(records)
    return problem


def _is_number(raw: Any) -> bool:
    return type(raw) in (int, float) or (type(raw) is str and numeric_text.number(raw) is not None)
