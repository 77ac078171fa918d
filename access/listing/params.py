"""What may stand behind the question mark of a request. A parameter that is not known is refused, not passed over."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from access import times
from access.listing.media_types import Form
from access.listing.pages import PART
from access.problems import ProblemError

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _width(text: object) -> int:
    return text if isinstance(text, int) else times.width(str(text))


Instant = Annotated[
    datetime,
    BeforeValidator(times.instant),
    Field(ge=_EARLIEST, le=_LATEST),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]}),
]
Width = Annotated[
    int,
    BeforeValidator(_width),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(us|ms|s|m|h|d)$", "examples": ["10s", "15m", "1h"]}),
]
Names = Annotated[list[str], Field(max_length=1000)]


class Listed(BaseModel):
    """Of every list: how much, from where, in which form."""

    model_config = ConfigDict(extra="forbid")

    limit: int | None = Field(
        None,
        ge=1,
        le=PART,
        description="Rows of a part. Of JSON 1,000 unless set; of NDJSON and CSV all rows come at once unless set.",
    )
    cursor: str | None = Field(
        None, max_length=2000, description="Where a part begins, as the `next` of the one before has it."
    )
    format: Form | None = Field(None, description="json, ndjson or csv; instead of the header Accept.")

    @property
    def question(self) -> dict[str, Any]:
        """What is asked, apart from how it is handed over; no part that is unset."""
        apart = {"limit", "cursor", "format"}
        return {
            name: value
            for name, value in self.model_dump(by_alias=True, exclude=apart).items()
            if value not in (None, [])
        }


class Between(Listed):
    """From an instant to before another."""

    from_: Instant | None = Field(None, alias="from", description="From when on: ISO 8601.")
    to: Instant | None = Field(None, description="Until before when: ISO 8601; unless set, now.")

    @property
    def reach(self) -> timedelta:
        """How long before its end a period begins that has no beginning."""
        return timedelta(days=1)

    def settled(self, now: datetime) -> Self:
        """Return the same with both instants: unless set, to the next whole minute, and from ``reach`` before the end.

        Raises :class:`ProblemError` where the end is not after the beginning.
        """
        to = self.to or times.next_minute(now)
        begin = self.from_ or max(to - self.reach, _EARLIEST)
        if begin >= to:
            detail = f"`from` ({times.written(begin)}) is not before `to` ({times.written(to)})."
            raise ProblemError("invalid", detail, [{"parameter": "from", "detail": "not before `to`"}])
        return self.model_copy(update={"from_": begin, "to": to})


class OfSeries(Between):
    """Of some series, or of all."""

    sensor: Names = Field([], description="The sensor, as often as you like; all unless set.")
    quantity: Names = Field([], description="The quantity, as often as you like; all unless set.")
    site: str | None = Field(None, description="Only sensors of this site.")
    area: str | None = Field(None, description="Only sensors of this area.")


class ReadingsAsked(OfSeries):
    """Raw readings."""

    order: Literal["asc", "desc"] = Field("asc", description="Of each series the oldest first, or the newest (desc).")


class WindowsAsked(OfSeries):
    """Windows over readings."""

    window: Width = Field(description="Width of a window: a number and ms, s, m, h or d.")
    step: Width | None = Field(
        None,
        description="From one window's start to the next one's; less than `window` and they slide. Default: `window`.",
    )


class SensorsAsked(Listed):
    """Sensors."""

    sensor: Names = Field([], description="The sensor, as often as you like.")
    site: str | None = Field(None, description="Only those of this site.")
    area: str | None = Field(None, description="Only those of this area.")
    type: str | None = Field(None, description="Only those of this type.")
    retired: bool = Field(False, description="Also those that were removed from the registry.")


class ChecksAsked(Listed):
    """The last state of every check."""

    contract: Names = Field([], description="The contract, as often as you like; all unless set.")
    sensor: Names = Field([], description="Only what is about this sensor.")
    outcome: Literal["passed", "failed", "warned", "not evaluated"] | None = Field(None, description="Only these.")


class ResultsAsked(ChecksAsked, Between):
    """What checks have found over time."""


class QualityDaysAsked(Between):
    """The quality indicator."""

    sensor: Names = Field([], description="The sensor, as often as you like; all unless set.")
    below: float | None = Field(None, ge=0, le=100, description="Only days whose quality is less.")

    @property
    def reach(self) -> timedelta:
        """A month."""
        return timedelta(days=30)


class CyclesAsked(OfSeries):
    """Load cycles, by when they started."""

    complete: bool | None = Field(
        None, description="Only those of which start, end and all between was seen; or only others."
    )

    @property
    def reach(self) -> timedelta:
        """A week."""
        return timedelta(days=7)


class AnomaliesAsked(OfSeries):
    """Anomalies, by when they began."""

    kind: Literal["seasonal", "level_shift", "flat_line", "gap"] | None = Field(None, description="Only these.")
    open: bool | None = Field(None, description="Only those that go on; or only those that are over.")

    @property
    def reach(self) -> timedelta:
        """A week."""
        return timedelta(days=7)
