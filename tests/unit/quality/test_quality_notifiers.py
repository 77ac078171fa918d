"""Settings of notifications, and the text of mails and posts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import SettingError
from core.settings import load
from quality.alerts.alert import Alert
from quality.alerts.notifiers import MailNotifier, configured, subject
from quality.settings import QualitySettings

MAIL = {"SMTP_HOST": "mail.example.org", "MAIL_FROM": "wh@example.org", "MAIL_TO": "a@example.org,b@example.org"}


@pytest.fixture
def settings(monkeypatch):
    """Load the settings with only these environment variables."""

    def read(**variables: str) -> QualitySettings:
        for name in QualitySettings.model_fields:
            monkeypatch.delenv(f"QUALITY_{name.upper()}", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"QUALITY_{name}", value)
        return load(QualitySettings)

    return read


@pytest.mark.parametrize(
    ("variables", "mistakes"),
    [
        (
            {"SMTP_HOST": "m"},
            ["QUALITY_MAIL_FROM: QUALITY_SMTP_HOST needs it", "QUALITY_MAIL_TO: QUALITY_SMTP_HOST needs it"],
        ),
        ({"MAIL_TO": "a@b.c"}, ["QUALITY_MAIL_TO: without QUALITY_SMTP_HOST no mail is sent"]),
        ({**MAIL, "SMTP_USERNAME": "me"}, ["QUALITY_SMTP_USERNAME, QUALITY_SMTP_PASSWORD: set both or neither"]),
        (
            {**MAIL, "SMTP_USERNAME": "me", "SMTP_PASSWORD": "secret", "SMTP_SECURITY": "none"},
            ["would send the password in the clear"],
        ),
        ({"WEBHOOK_URL": "file:///etc/passwd"}, ["QUALITY_WEBHOOK_URL: not an address"]),
        ({"REMIND_HOURS": "-1", "SMTP_PORT": "x"}, ["QUALITY_REMIND_HOURS", "QUALITY_SMTP_PORT"]),
        ({"DRIFT_QUANTITIES": "a b"}, ["QUALITY_DRIFT_QUANTITIES"]),
    ],
)
def test_all_invalid_settings_are_reported_together(settings, variables, mistakes):
    """Each message names its variable and the fix; no secret is repeated."""
    with pytest.raises(SettingError) as raised:
        settings(**variables)
    for mistake in mistakes:
        assert mistake in str(raised.value)
    assert "secret" not in str(raised.value)


def test_secrets_are_not_shown(settings):
    """The password and the URL of the webhook, which often contains a key, are not in the repr that may be logged."""
    loaded = settings(**MAIL, SMTP_USERNAME="me", SMTP_PASSWORD="secret", WEBHOOK_URL="https://h/secret")
    assert "secret" not in repr(loaded)


def test_every_setting_is_in_the_example():
    """.env.example lists each setting with its default."""
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    missing = [
        name
        for name, field in QualitySettings.model_fields.items()
        if f"\n#QUALITY_{name.upper()}={'' if field.default is None else field.default}\n" not in text
    ]
    assert missing == []


def test_configured_notifiers(settings):
    """The log is always a notifier; mail and webhook are if their settings are present."""
    assert [notifier.name for notifier in configured(settings())] == ["log"]
    notifiers = configured(settings(**MAIL, WEBHOOK_URL="https://h/x"))
    assert [notifier.name for notifier in notifiers] == ["log", "mail", "webhook"]


def test_mail_has_all_fields_and_a_subject_of_one_line(settings):
    """The name of a sensor can't inject a mail header."""
    alert = Alert(
        key="k", title="t1\r\nBcc: all@example.org: silent", check="silent sensors", measured=1234.5678,
        threshold="at most 180 s", sensor="t1", link="http://x", at=datetime(2026, 5, 3, 4, 5, 6, tzinfo=UTC),
    )  # fmt: skip
    mail = MailNotifier(settings(**MAIL)).message([alert])
    assert mail["Subject"] == "[sensor-warehouse] FAILED: t1 Bcc: all@example.org: silent"
    assert mail["Bcc"] is None
    assert mail["To"] == "a@example.org, b@example.org"
    for line in (
        "measured  1234.57",
        "threshold at most 180 s",
        "seen      2026-05-03 04:05:06Z",
        "look      http://x",
    ):
        assert f"  {line}\n" in mail.get_content()


def test_subject_counts_several_alerts():
    """One alert is named, several are counted."""
    opened, recovered = Alert(key="a", title="a: b"), Alert(key="c", title="c: d", state="recovered")
    assert subject([opened]) == "FAILED: a: b"
    assert subject([recovered]) == "RECOVERED: c: d"
    assert subject([opened, opened, recovered]) == "2 failed, 1 recovered"
