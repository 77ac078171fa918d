"""Settings of the database: edition and retention, validated before the first connection."""

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from core.settings import EnvironmentSettings
from local_services.postgres_binaries import Choice

SOURCES = ("mqtt", "kafka")
"""Sources whose messages the archive can hold; readings loaded from files are still in those files."""


class TimescaleSettings(EnvironmentSettings):
    """The database: TIMESCALE_EDITION, TIMESCALE_RETENTION_DAYS, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="TIMESCALE_")

    edition: Choice = Field("auto", description="Edition of a new database; auto: TimescaleDB if the server has it.")
    retention_days: int | None = Field(
        None, ge=2, le=36_500, description="Days for which raw readings are kept; unset: forever."
    )
    retention_archived: str = Field(
        "mqtt",
        description=f"Sources whose messages must be archived before readings are dropped: {', '.join(SOURCES)}; "
        "or none.",
    )
    retention_scanned: Literal["yes", "no"] = Field(
        "yes", description="Whether a quality scan must have run after the last change before readings are dropped."
    )

    quarantine_days: int | None = Field(
        None, ge=1, le=36_500, description="Days after which open rows of the quarantine are deleted; unset: never."
    )

    @field_validator("retention_archived")
    @classmethod
    def _known_sources(cls, text: str) -> str:
        if text != "none" and not {name.strip() for name in text.split(",")} <= set(SOURCES):
            raise ValueError(f"write some of {', '.join(SOURCES)}, separated by commas; or none")
        return text

    @property
    def archived_sources(self) -> tuple[str, ...]:
        """The sources of ``retention_archived``."""
        return () if self.retention_archived == "none" else tuple(map(str.strip, self.retention_archived.split(",")))
