"""Mail over STARTTLS to a server that requires a login: accepted mails, and the messages of failures."""

import shutil

import pytest
import structlog
from fix_certificates import make_authority, make_certificate

from core.settings import load
from quality.alerts import incidents
from quality.alerts.alert import Alert
from quality.alerts.notifiers import MailNotifier
from quality.settings import QualitySettings

ALERT = Alert(key="k", title="t1 temperature: silent sensors")
SECRET = "not-to-be-logged"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with the authority ``right``, which signed the server's certificate, and another, ``wrong``."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder, make_authority(folder, "right"), "127.0.0.1")
    make_authority(folder, "wrong")
    return folder


@pytest.fixture
def mail(certificates, mail_sink, monkeypatch):
    """Make a mail notifier with valid settings and overrides; the sink requires a login."""
    mail_sink.certificate, mail_sink.login = certificates / "server.pem", ("warehouse", SECRET)
    valid = {
        "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail_sink.port), "SMTP_USERNAME": "warehouse",
        "SMTP_PASSWORD": SECRET, "MAIL_FROM": "wh@example.org", "MAIL_TO": "me@example.org",
    }  # fmt: skip

    def make(authority: str = "right", **settings: str) -> MailNotifier:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / f"{authority}.pem"))
        for name in QualitySettings.model_fields:
            monkeypatch.delenv(f"QUALITY_{name.upper()}", raising=False)
        for name, value in {**valid, **settings}.items():
            monkeypatch.setenv(f"QUALITY_{name}", value)
        return MailNotifier(load(QualitySettings))

    return make


def send(notifier: MailNotifier) -> tuple[bool, list[str]]:
    """Return whether ``notifier`` sent the alert, and the errors in the log."""
    with structlog.testing.capture_logs() as lines:
        sent = incidents.try_send(notifier, [ALERT])
    return sent, [line["error"] for line in lines]


def test_login_and_mail_are_encrypted(mail, mail_sink):
    """By default a mail is sent after STARTTLS and an encrypted login."""
    assert send(mail()) == (True, [])
    assert [message["Subject"] for message in mail_sink.mails] == [
        "[sensor-warehouse] FAILED: t1 temperature: silent sensors"
    ]
    assert mail_sink.secured == 1


@pytest.mark.parametrize("settings", [{"SMTP_PASSWORD": "wrong-one"}, {"SMTP_USERNAME": "stranger"}])
def test_refused_login_is_logged_with_its_settings(mail, mail_sink, settings):
    """One line names server, user, reply and settings to check; the password is not in it."""
    sent, (error,) = send(mail(**settings))
    assert (sent, mail_sink.mails) == (False, [])
    user = settings.get("SMTP_USERNAME", "warehouse")
    assert error == (
        f"the mail server 127.0.0.1:{mail_sink.port} refuses the login of {user} (535 5.7.8 credentials invalid). "
        "Check QUALITY_SMTP_USERNAME and QUALITY_SMTP_PASSWORD."
    )


def test_missing_login_is_logged(mail, mail_sink):
    """Without user and password the log has the reply of the server."""
    sent, (error,) = send(mail(SMTP_USERNAME="", SMTP_PASSWORD=""))
    assert (sent, mail_sink.mails) == (False, [])
    assert "530 5.7.0 authentication required" in error
    assert f"127.0.0.1:{mail_sink.port}" in error


def test_untrusted_server_gets_no_login(mail, mail_sink):
    """With a certificate of another authority no password is sent; the message says how to trust it."""
    sent, (error,) = send(mail(authority="wrong"))
    assert (sent, mail_sink.mails) == (False, [])
    assert error.startswith(f"the certificate of the mail server 127.0.0.1:{mail_sink.port} is not trusted (")
    assert error.endswith("). SSL_CERT_FILE names the authorities to trust.")


def test_a_server_without_starttls_gets_no_login(mail, mail_sink):
    """Nothing is sent unencrypted; the message names the setting."""
    notifier = mail()
    mail_sink.certificate = None
    sent, (error,) = send(notifier)
    assert (sent, mail_sink.mails) == (False, [])
    assert error == (
        f"the mail server 127.0.0.1:{mail_sink.port} offers no STARTTLS. Set QUALITY_SMTP_SECURITY to tls and "
        "QUALITY_SMTP_PORT to its TLS port, or QUALITY_SMTP_SECURITY to none for a server on this machine."
    )
