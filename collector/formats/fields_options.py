"""Options of format ``fields``; :mod:`collector.formats.fields` decodes by them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from collector.formats.measurement import FormatOptions


def _pointer(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f"a JSON Pointer starts with a slash: write {'/' + text!r}")
    return text


Pointer = Annotated[str, AfterValidator(_pointer)]
"""A JSON Pointer (RFC 6901): ``/a/b`` names member b of member a, the empty string the whole document."""


class FieldsFormat(FormatOptions):
    """Any JSON object, or array of objects, whose members are found by JSON Pointers.

    A *wide* object holds its quantities as members (``{"temperature": 25.2}``); a *narrow* one names one
    quantity (``{"sensor": "temperature", "value": 25.2}``). Both are understood; narrow wins where the
    ``quantity`` pointer finds a text.
    """

    name: Literal["fields"] = "fields"
    time: Pointer | None = Field("/timestamp", description="Where the time stands; null: the time of arrival.")
    time_unit: Literal["iso8601", "s", "ms", "us", "ns"] = Field(
        "iso8601", description="How the time is written: ISO 8601 text, or a number of these since 1970-01-01 UTC."
    )
    device: Pointer | None = Field(
        "/device_id", description="Where the device names itself; looked at only where several sensors share a topic."
    )
    quantity: Pointer | None = Field("/sensor", description="Narrow form: where the quantity's name stands.")
    value: Pointer = Field("/value", description="Narrow form: where the value stands.")
    readings: Pointer = Field("", description="Where the object or array of objects stands; empty: the whole payload.")

    @property
    def names_devices(self) -> bool:
        """Whether there is a place for it."""
        return self.device is not None
