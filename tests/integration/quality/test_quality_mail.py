"""Mail over STARTTLS to a server that asks for a login: what goes through, and what is said when it doesn't."""

import shutil

import pytest
import structlog
from fix_certificates import make_authority, make_certificate

from core.settings import load
from quality.alerts import incidents
from quality.alerts.event import Event
from quality.alerts.notifiers import MailNotifier
from quality.settings import QualitySettings

EVENT = Event(key="k", title="t1 temperature: silent sensors")
SECRET = "not-to-be-told"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with the authority ``right``, which vouches for this machine, and another, ``wrong``."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder, make_authority(folder, "right"), "127.0.0.1")
    make_authority(folder, "wrong")
    return folder


@pytest.fixture
def mail(certificates, mail_sink, monkeypatch):
    """Return the way to tell people by mail, with settings over the right ones; the sink asks for a login."""
    mail_sink.certificate, mail_sink.login = certificates / "server.pem", ("warehouse", SECRET)
    told = {
        "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail_sink.port), "SMTP_USERNAME": "warehouse",
        "SMTP_PASSWORD": SECRET, "MAIL_FROM": "wh@example.org", "MAIL_TO": "me@example.org",
    }  # fmt: skip

    def make(authority: str = "right", **settings: str) -> MailNotifier:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / f"{authority}.pem"))
        for name in QualitySettings.model_fields:
            monkeypatch.delenv(f"QUALITY_{name.upper()}", raising=False)
        for name, value in {**told, **settings}.items():
            monkeypatch.setenv(f"QUALITY_{name}", value)
        return MailNotifier(load(QualitySettings))

    return make


def attempt(notifier: MailNotifier) -> tuple[bool, list[str]]:
    """Return whether ``notifier`` could tell, and what the log says of it."""
    with structlog.testing.capture_logs() as lines:
        told = incidents.attempt(notifier, [EVENT])
    return told, [line["error"] for line in lines]


def test_the_right_login_is_taken_encrypted(mail, mail_sink):
    """By default a mail goes by STARTTLS, after a login that nobody could read."""
    assert attempt(mail()) == (True, [])
    assert [one["Subject"] for one in mail_sink.mails] == ["[sensor-warehouse] FAILED: t1 temperature: silent sensors"]
    assert mail_sink.secured == 1


@pytest.mark.parametrize("settings", [{"SMTP_PASSWORD": "wrong-one"}, {"SMTP_USERNAME": "nobody"}])
def test_a_wrong_login_is_told_with_its_settings(mail, mail_sink, settings):
    """One line says which server refused whom, what it said and what to set; the password is not in it."""
    told, (error,) = attempt(mail(**settings))
    assert (told, mail_sink.mails) == (False, [])
    user = settings.get("SMTP_USERNAME", "warehouse")
    assert error == (
        f"the mail server 127.0.0.1:{mail_sink.port} refuses the login of {user} (535 5.7.8 credentials invalid). "
        "Check QUALITY_SMTP_USERNAME and QUALITY_SMTP_PASSWORD."
    )


def test_a_server_that_wants_a_login_says_so(mail, mail_sink):
    """Without user and password the server's own words are told."""
    told, (error,) = attempt(mail(SMTP_USERNAME="", SMTP_PASSWORD=""))
    assert (told, mail_sink.mails) == (False, [])
    assert "530 5.7.0 authentication required" in error
    assert f"127.0.0.1:{mail_sink.port}" in error


def test_a_server_that_nobody_vouches_for_gets_no_login(mail, mail_sink):
    """A certificate of another authority ends it before the password is sent; the message says how to trust it."""
    told, (error,) = attempt(mail(authority="wrong"))
    assert (told, mail_sink.mails) == (False, [])
    assert error.startswith(f"the certificate of the mail server 127.0.0.1:{mail_sink.port} is not trusted (")
    assert error.endswith("). SSL_CERT_FILE names the authorities to trust.")


def test_a_server_without_starttls_gets_no_login(mail, mail_sink):
    """Nothing is sent in the clear; the message names the setting."""
    notifier = mail()
    mail_sink.certificate = None
    told, (error,) = attempt(notifier)
    assert (told, mail_sink.mails) == (False, [])
    assert error == (
        f"the mail server 127.0.0.1:{mail_sink.port} offers no STARTTLS. Set QUALITY_SMTP_SECURITY to tls and "
        "QUALITY_SMTP_PORT to its port for that, or to none for a server on this machine."
    )
