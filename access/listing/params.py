"""Query parameters. An unknown parameter is an error, not ignored."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from access import times
from access.listing.media_types import Format
from access.listing.pages import MAX_ROWS
from access.problems import ProblemError

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _width(text: object) -> int:
    return text if isinstance(text, int) else times.parse_width(str(text))


Instant = Annotated[
    datetime,
    BeforeValidator(times.parse_instant),
    Field(ge=_EARLIEST, le=_LATEST),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z"]}),
]
Width = Annotated[
    int,
    BeforeValidator(_width),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(us|ms|s|m|h|d)$", "examples": ["10s", "15m", "1h"]}),
]
Names = Annotated[list[str], Field(max_length=1000)]


class ListParams(BaseModel):
    """Parameters of every list: number of rows, position, format."""

    model_config = ConfigDict(extra="forbid")

    limit: int | None = Field(
        None,
        ge=1,
        le=MAX_ROWS,
        description="Rows per page. Default: 1,000 for JSON; NDJSON and CSV return all rows.",
    )
    cursor: str | None = Field(
        None, max_length=2000, description="Start of the page, from `next` of the previous page."
    )
    format: Format | None = Field(None, description="json, ndjson or csv; overrides the header Accept.")

    @property
    def filters(self) -> dict[str, Any]:
        """The parameters that select rows, without unset ones."""
        presentation = {"limit", "cursor", "format"}
        return {
            name: value
            for name, value in self.model_dump(by_alias=True, exclude=presentation).items()
            if value not in (None, [])
        }


class PeriodParams(ListParams):
    """A period from one time to before another."""

    from_: Instant | None = Field(None, alias="from", description="Start of the period, inclusive: ISO 8601.")
    to: Instant | None = Field(None, description="End of the period, exclusive: ISO 8601. Default: now.")

    @property
    def default_period(self) -> timedelta:
        """Length of the period if `from` is not set."""
        return timedelta(days=1)

    def with_period(self, now: datetime) -> Self:
        """Return a copy with both times set; the defaults are the next whole minute and ``default_period`` before it.

        Raises :class:`ProblemError` if the end is not after the beginning.
        """
        to = self.to or times.next_minute(now)
        begin = self.from_ or max(to - self.default_period, _EARLIEST)
        if begin >= to:
            detail = f"`from` ({times.format_utc(begin)}) is not before `to` ({times.format_utc(to)})."
            raise ProblemError("invalid", detail, [{"parameter": "from", "detail": "not before `to`"}])
        return self.model_copy(update={"from_": begin, "to": to})


class SeriesParams(PeriodParams):
    """A selection of series."""

    sensor: Names = Field([], description="Sensor id; repeatable. Default: all.")
    quantity: Names = Field([], description="Quantity; repeatable. Default: all.")
    site: str | None = Field(None, description="Only sensors of this site.")
    area: str | None = Field(None, description="Only sensors of this area.")


class ReadingsParams(SeriesParams):
    """Raw readings."""

    order: Literal["asc", "desc"] = Field("asc", description="Order by time within each series.")


class WindowsParams(SeriesParams):
    """Windows over readings."""

    window: Width = Field(description="Width of each window: a number and us, ms, s, m, h or d.")
    step: Width | None = Field(
        None,
        description="Distance between two window starts; windows slide if it is less than `window`. Default: `window`.",
    )


class SensorsParams(ListParams):
    """Sensors."""

    sensor: Names = Field([], description="Sensor id; repeatable. Default: all.")
    site: str | None = Field(None, description="Only sensors of this site.")
    area: str | None = Field(None, description="Only sensors of this area.")
    type: str | None = Field(None, description="Only sensors of this type.")
    retired: bool = Field(False, description="Include sensors that were removed from the registry.")


class ChecksParams(ListParams):
    """The last result of every check."""

    contract: Names = Field([], description="Contract; repeatable. Default: all.")
    sensor: Names = Field([], description="Only checks of this sensor; repeatable.")
    outcome: Literal["passed", "failed", "warned", "nothing to check", "not evaluated"] | None = Field(
        None, description="Only results with this outcome."
    )


class ResultsParams(ChecksParams, PeriodParams):
    """Results of checks over time."""


class QualityDaysParams(PeriodParams):
    """The quality indicator."""

    sensor: Names = Field([], description="Sensor id; repeatable. Default: all.")
    below: float | None = Field(None, ge=0, le=100, description="Only days with a lower quality.")

    @property
    def default_period(self) -> timedelta:
        """A month."""
        return timedelta(days=30)


class LoadCyclesParams(SeriesParams):
    """Load cycles that started in the period."""

    complete: bool | None = Field(
        None, description="Only cycles that were received completely (true) or incompletely (false)."
    )

    @property
    def default_period(self) -> timedelta:
        """A week."""
        return timedelta(days=7)


class AnomaliesParams(SeriesParams):
    """Anomalies that began in the period."""

    kind: Literal["seasonal", "level_shift", "flat_line", "gap"] | None = Field(
        None, description="Only anomalies of this kind."
    )
    open: bool | None = Field(None, description="Only ongoing anomalies (true) or ended ones (false).")

    @property
    def default_period(self) -> timedelta:
        """A week."""
        return timedelta(days=7)
