"""Notification channels: log lines, e-mail, a webhook. Each sends all alerts of one run together."""

import json
import smtplib
import ssl
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

import structlog

from quality.alerts.alert import Alert
from quality.errors import NotifyError
from quality.settings import QualitySettings

log = structlog.get_logger()


class Notifier(Protocol):
    """Sends notifications; any exception means failure and is retried on the next run."""

    @property
    def name(self) -> str:
        """Its name, under which pending notifications are recorded; must not change."""

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send all of ``alerts``, or raise."""


@dataclass(frozen=True)
class LogNotifier:
    """One log line per alert."""

    name: str = "log"

    def send(self, alerts: Sequence[Alert]) -> None:
        """Write the lines."""
        for alert in alerts:
            level = log.info if alert.state == "recovered" else log.warning
            fields = {
                name: value
                for name, value in alert.document().items()
                if name not in _IN_HEADLINE and value is not None
            }
            level(alert.headline, **fields)


_IN_HEADLINE = {"title", "state", "check", "at"}
"""Fields that the headline and the timestamp of the log line already contain."""


@dataclass(frozen=True)
class MailNotifier:
    """One mail for all alerts, sent by SMTP."""

    settings: QualitySettings
    name: str = "mail"

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send the mail; raises :class:`NotifyError` if the server refuses it, or :class:`OSError`."""
        settings = self.settings
        server = f"the mail server {settings.smtp_host}:{settings.smtp_port}"
        try:
            self._send(self.message(alerts))
        except smtplib.SMTPAuthenticationError as error:
            raise NotifyError(
                f"{server} refuses the login of {settings.smtp_username} ({_reply(error)}). "
                "Check QUALITY_SMTP_USERNAME and QUALITY_SMTP_PASSWORD."
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            if settings.smtp_security != "starttls" or "STARTTLS" not in str(error):
                raise NotifyError(f"{server} can't be used: {error}") from error
            raise NotifyError(
                f"{server} offers no STARTTLS. Set QUALITY_SMTP_SECURITY to tls and QUALITY_SMTP_PORT to its TLS port, "
                "or QUALITY_SMTP_SECURITY to none for a server on this machine."
            ) from error
        except smtplib.SMTPResponseException as error:
            raise NotifyError(f"{server} refuses the mail: {_reply(error)}") from error
        except ssl.SSLCertVerificationError as error:
            raise NotifyError(
                f"the certificate of {server} is not trusted ({error.verify_message}). "
                "SSL_CERT_FILE names the authorities to trust."
            ) from error

    def _send(self, message: EmailMessage) -> None:
        settings = self.settings
        assert settings.smtp_host is not None
        tls = ssl.create_default_context()
        connection = (
            smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=settings.notify_seconds, context=tls)
            if settings.smtp_security == "tls"
            else smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=settings.notify_seconds)
        )
        with connection as server:
            if settings.smtp_security == "starttls":
                server.starttls(context=tls)
            if settings.smtp_username is not None and settings.smtp_password is not None:
                server.login(settings.smtp_username, settings.smtp_password)
            server.send_message(message)

    def message(self, alerts: Sequence[Alert]) -> EmailMessage:
        """Return the mail that reports ``alerts``."""
        message = EmailMessage()
        message["From"] = self.settings.mail_from
        message["To"] = ", ".join(address.strip() for address in (self.settings.mail_to or "").split(","))
        # A header is one line; a title may contain line breaks.
        message["Subject"] = " ".join(f"[sensor-warehouse] {subject(alerts)}".split())
        message.set_content("\n\n".join(alert.text() for alert in alerts) + "\n")
        return message


@dataclass(frozen=True)
class WebhookNotifier:
    """One POST for all alerts: ``{"text": …, "events": […]}``. Chat services show ``text``."""

    settings: QualitySettings
    name: str = "webhook"

    def send(self, alerts: Sequence[Alert]) -> None:
        """Post it; raises :class:`OSError` if that fails or the response is no success."""
        assert self.settings.webhook_url is not None
        body = {"text": "\n\n".join(alert.text() for alert in alerts), "events": [alert.document() for alert in alerts]}
        request = urllib.request.Request(  # noqa: S310 - the settings allow only http and https
            self.settings.webhook_url,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "sensor-warehouse"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=self.settings.notify_seconds):  # noqa: S310
            pass


def _reply(error: smtplib.SMTPResponseException) -> str:
    """Return the reply of the server in one line."""
    text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
    return f"{error.smtp_code} {' '.join(text.split())}"


def subject(alerts: Sequence[Alert]) -> str:
    """Return a summary of ``alerts`` in one line."""
    if len(alerts) == 1:
        return alerts[0].headline
    recovered = sum(alert.state == "recovered" for alert in alerts)
    counts = ((len(alerts) - recovered, "failed"), (recovered, "recovered"))
    return ", ".join(f"{number} {word}" for number, word in counts if number)


def configured(settings: QualitySettings) -> list[Notifier]:
    """Return the notifiers that the settings enable; the log always is."""
    notifiers: list[Notifier] = [LogNotifier()]
    if settings.smtp_host is not None:
        notifiers.append(MailNotifier(settings))
    if settings.webhook_url is not None:
        notifiers.append(WebhookNotifier(settings))
    return notifiers
