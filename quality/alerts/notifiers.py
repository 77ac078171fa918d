"""Ways to tell people: log lines, e-mail, a webhook. Each takes all news of one occasion at once."""

import json
import smtplib
import ssl
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

import structlog

from quality.alerts.event import Event
from quality.errors import NotifyError
from quality.settings import QualitySettings

log = structlog.get_logger()


class Notifier(Protocol):
    """Tells people; raises whatever it likes when it can't, and is then asked again at the next occasion."""

    @property
    def name(self) -> str:
        """Its name, by which it is noted whom it has told what; the same each time."""

    def send(self, events: Sequence[Event]) -> None:
        """Tell all of ``events``, or raise."""


@dataclass(frozen=True)
class LogNotifier:
    """One log line an event."""

    name: str = "log"

    def send(self, events: Sequence[Event]) -> None:
        """Write the lines."""
        for event in events:
            level = log.info if event.state == "recovered" else log.warning
            facts = {name: fact for name, fact in event.document().items() if name not in _SAID and fact is not None}
            level(event.headline, **facts)


_SAID = {"title", "state", "check", "at"}
"""What the headline and the line's own time say."""


@dataclass(frozen=True)
class MailNotifier:
    """One mail for all events, by SMTP."""

    settings: QualitySettings
    name: str = "mail"

    def send(self, events: Sequence[Event]) -> None:
        """Send the mail; raises :class:`NotifyError` where the server will not have it, or :class:`OSError`."""
        mine = self.settings
        where = f"the mail server {mine.smtp_host}:{mine.smtp_port}"
        try:
            self._send(self.message(events))
        except smtplib.SMTPAuthenticationError as error:
            raise NotifyError(
                f"{where} refuses the login of {mine.smtp_username} ({_said(error)}). "
                "Check QUALITY_SMTP_USERNAME and QUALITY_SMTP_PASSWORD."
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            if mine.smtp_security != "starttls" or "STARTTLS" not in str(error):
                raise NotifyError(f"{where} will not do: {error}") from error
            raise NotifyError(
                f"{where} offers no STARTTLS. Set QUALITY_SMTP_SECURITY to tls and QUALITY_SMTP_PORT to its port for "
                "that, or to none for a server on this machine."
            ) from error
        except smtplib.SMTPResponseException as error:
            raise NotifyError(f"{where} refuses the mail: {_said(error)}") from error
        except ssl.SSLCertVerificationError as error:
            raise NotifyError(
                f"the certificate of {where} is not trusted ({error.verify_message}). "
                "SSL_CERT_FILE names the authorities to trust."
            ) from error

    def _send(self, message: EmailMessage) -> None:
        mine = self.settings
        assert mine.smtp_host is not None
        secure = ssl.create_default_context()
        opened = (
            smtplib.SMTP_SSL(mine.smtp_host, mine.smtp_port, timeout=mine.notify_seconds, context=secure)
            if mine.smtp_security == "tls"
            else smtplib.SMTP(mine.smtp_host, mine.smtp_port, timeout=mine.notify_seconds)
        )
        with opened as server:
            if mine.smtp_security == "starttls":
                server.starttls(context=secure)
            if mine.smtp_username is not None and mine.smtp_password is not None:
                server.login(mine.smtp_username, mine.smtp_password)
            server.send_message(message)

    def message(self, events: Sequence[Event]) -> EmailMessage:
        """Return the mail that tells ``events``."""
        message = EmailMessage()
        message["From"] = self.settings.mail_from
        message["To"] = ", ".join(one.strip() for one in (self.settings.mail_to or "").split(","))
        # A header takes one line; a title may come from anywhere.
        message["Subject"] = " ".join(f"[sensor-warehouse] {subject(events)}".split())
        message.set_content("\n\n".join(event.text() for event in events) + "\n")
        return message


@dataclass(frozen=True)
class WebhookNotifier:
    """One POST for all events: ``{"text": …, "events": […]}``. Chat services show ``text``."""

    settings: QualitySettings
    name: str = "webhook"

    def send(self, events: Sequence[Event]) -> None:
        """Post it; raises :class:`OSError` where that fails or the answer is no success."""
        assert self.settings.webhook_url is not None
        body = {"text": "\n\n".join(event.text() for event in events), "events": [one.document() for one in events]}
        request = urllib.request.Request(  # noqa: S310 - the settings have seen to http or https
            self.settings.webhook_url,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "sensor-warehouse"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self.settings.notify_seconds):  # noqa: S310
            pass


def _said(error: smtplib.SMTPResponseException) -> str:
    """Return what the server answered, in a line."""
    text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
    return f"{error.smtp_code} {' '.join(text.split())}"


def subject(events: Sequence[Event]) -> str:
    """Return what ``events`` come to in a line."""
    if len(events) == 1:
        return events[0].headline
    recovered = sum(event.state == "recovered" for event in events)
    counts = ((len(events) - recovered, "failed"), (recovered, "recovered"))
    return ", ".join(f"{number} {word}" for number, word in counts if number)


def configured(settings: QualitySettings) -> list[Notifier]:
    """Return the ways to tell people that the settings turn on; the log always is."""
    found: list[Notifier] = [LogNotifier()]
    if settings.smtp_host is not None:
        found.append(MailNotifier(settings))
    if settings.webhook_url is not None:
        found.append(WebhookNotifier(settings))
    return found
