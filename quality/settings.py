"""Settings of scans and notifications, all validated before the first connection."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings import EnvironmentSettings

COMMA_SEPARATED = r"^\s*[^\s,]+\s*(,\s*[^\s,]+\s*)*$"


class ContractSettings(EnvironmentSettings):
    """The contracts: QUALITY_CONTRACTS."""

    model_config = SettingsConfigDict(env_prefix="QUALITY_")

    contracts: Path | None = Field(None, description="Folder of the contracts; default: the bundled ones.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if mistakes := self._mistakes():
            raise ValueError("\n  ".join(mistakes))
        return self

    def _mistakes(self) -> list[str]:
        if self.contracts is None or self.contracts.is_dir():
            return []
        return [f"QUALITY_CONTRACTS: no such folder {self.contracts}; set it to a folder of contracts"]


class QualitySettings(ContractSettings):
    """The scans: QUALITY_LINK, QUALITY_SMTP_HOST, …"""  # noqa: D400

    drift_quantities: str = Field(
        "temperature,humidity,pressure",
        pattern=COMMA_SEPARATED,
        description="Quantities that the sensors of a site share; drift is checked for these.",
    )
    query_seconds: float = Field(120, gt=0, le=86_400, description="Timeout of one query of a scan.")
    keep_days: int = Field(90, ge=0, le=36_500, description="Days for which results are kept; 0: forever.")

    link: str | None = Field(None, description="URL of a page, included in notifications of a scan.")
    remind_hours: float | None = Field(
        None, gt=0, description="Repeat the notification of an open incident after this many hours; unset: notify once."
    )
    notify_seconds: float = Field(10, gt=0, le=600, description="Timeout of the mail server and the webhook.")

    smtp_host: str | None = Field(None, min_length=1, description="Mail server; setting it enables e-mail.")
    smtp_port: int = Field(587, ge=1, le=65_535, description="Its port; 587 with starttls, 465 with tls.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="Encryption of the connection; use none only for a server on this machine."
    )
    smtp_username: str | None = Field(None, description="User name, if the mail server requires a login.")
    smtp_password: str | None = Field(None, description="Password of that user.", repr=False)
    mail_from: str | None = Field(None, pattern=r"^[^\s,@]+@[^\s,@]+$", description="Sender of the mails.")
    mail_to: str | None = Field(
        None, pattern=COMMA_SEPARATED, description="Recipients of the mails: addresses, separated by commas."
    )

    webhook_url: str | None = Field(
        None, description="URL to which notifications are posted as JSON; setting it enables the webhook.", repr=False
    )

    def _mistakes(self) -> list[str]:
        """Return settings that need another one, and settings that would send a password unencrypted."""
        mistakes = super()._mistakes()
        if self.smtp_host is not None:
            mistakes += [
                f"QUALITY_{name.upper()}: QUALITY_SMTP_HOST needs it; set it too"
                for name in ("mail_from", "mail_to")
                if getattr(self, name) is None
            ]
        elif self.mail_to is not None:
            mistakes.append("QUALITY_MAIL_TO: without QUALITY_SMTP_HOST no mail is sent; set it too")
        if (self.smtp_username is None) != (self.smtp_password is None):
            mistakes.append("QUALITY_SMTP_USERNAME, QUALITY_SMTP_PASSWORD: set both or neither")
        elif self.smtp_password is not None and self.smtp_security == "none":
            mistakes.append("QUALITY_SMTP_SECURITY: none would send the password in the clear; set starttls or tls")
        if self.webhook_url is not None:
            parts = urlsplit(self.webhook_url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                mistakes.append("QUALITY_WEBHOOK_URL: not an address; write https://host/path")
        return mistakes
