"""What people are told: that something is not as it should be, or that it is over."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

State = Literal["open", "recovered"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One piece of news about one thing, which ``key`` names: the same each time, for its recovery as well."""

    key: str
    title: str
    state: State = "open"
    check: str | None = None
    measured: float | str | None = None
    """What was measured, in the unit of the check."""
    threshold: str | None = None
    """What would have been well, in words."""
    sensor: str | None = None
    link: str | None = None
    """Address of a page to look at."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When it was seen."""
    since: datetime | None = None
    """When it began; None: at ``at``."""

    @property
    def measured_text(self) -> str | None:
        """What was measured, for people."""
        return self.measured if self.measured is None or isinstance(self.measured, str) else f"{self.measured:.6g}"

    @property
    def headline(self) -> str:
        """One line that says it all."""
        return f"{'RECOVERED' if self.state == 'recovered' else 'FAILED'}: {self.title}"

    def text(self) -> str:
        """Return all of it, one line a fact."""
        facts = {
            "check": self.check,
            "sensor": self.sensor,
            "measured": self.measured_text,
            "threshold": self.threshold,
            "since": _instant(self.since),
            "seen": _instant(self.at),
            "look": self.link,
        }
        return "\n".join([self.headline, *(f"  {name:<9} {fact}" for name, fact in facts.items() if fact)])

    def document(self) -> dict[str, Any]:
        """Return all of it as plain values, ready for JSON; instants as ISO 8601 in UTC."""
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
