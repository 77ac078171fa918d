"""Alert: a failure, or the recovery from one, as notifiers send it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

State = Literal["open", "recovered"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A failure or recovery of a check or task; ``key`` identifies it and is the same in every failure and recovery."""

    key: str
    title: str
    state: State = "open"
    check: str | None = None
    measured: float | str | None = None
    """The measured value, in the unit of the check."""
    threshold: str | None = None
    """The condition that a passing value meets, as text."""
    sensor: str | None = None
    link: str | None = None
    """URL of a page with details."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was observed."""
    since: datetime | None = None
    """When it began; None: at ``at``."""

    @property
    def measured_text(self) -> str | None:
        """The measured value as text."""
        return self.measured if self.measured is None or isinstance(self.measured, str) else f"{self.measured:.6g}"

    @property
    def headline(self) -> str:
        """Title and state in one line."""
        return f"{'RECOVERED' if self.state == 'recovered' else 'FAILED'}: {self.title}"

    def text(self) -> str:
        """Return the alert as text, one line per field."""
        fields = {
            "check": self.check,
            "sensor": self.sensor,
            "measured": self.measured_text,
            "threshold": self.threshold,
            "since": _instant(self.since),
            "seen": _instant(self.at),
            "look": self.link,
        }
        return "\n".join([self.headline, *(f"  {name:<9} {value}" for name, value in fields.items() if value)])

    def document(self) -> dict[str, Any]:
        """Return the alert as JSON values; times are ISO 8601 in UTC."""
        return {
            "key": self.key,
            "title": self.title,
            "state": self.state,
            "check": self.check,
            "measured": self.measured,
            "threshold": self.threshold,
            "sensor": self.sensor,
            "link": self.link,
            "at": self.at.isoformat(),
            "since": (self.since or self.at).isoformat(),
        }


def _instant(when: datetime | None) -> str | None:
    return None if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
