"""Settings of Kafka: checked together, and passed to librdkafka under its names."""

import os

import pytest

from collector.settings import CollectorSettings, KafkaSettings
from core.errors import SettingError
from core.settings import load

SECRET = "correct-horse-battery"


@pytest.fixture
def variables(monkeypatch):
    """Return a function that sets variables in an environment without KAFKA_ variables."""
    for name in list(os.environ):
        if name.startswith("KAFKA_"):
            monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def test_defaults(variables):
    """The default is a broker on this machine, without login or TLS."""
    assert load(KafkaSettings).client() == {"bootstrap.servers": "localhost:9092", "security.protocol": "plaintext"}


def test_login(variables, tmp_path):
    """A login over TLS is passed to librdkafka; the password is in no text about the settings."""
    trusted = tmp_path / "ca.pem"
    trusted.write_text("")
    variables(
        KAFKA_BOOTSTRAP_SERVERS="a:9093,b:9093",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
        KAFKA_USERNAME="me",
        KAFKA_PASSWORD=SECRET,
        KAFKA_CA_FILE=str(trusted),
    )
    kafka = load(KafkaSettings)
    assert kafka.client() == {
        "bootstrap.servers": "a:9093,b:9093",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": SECRET,
        "ssl.ca.location": str(trusted),
    }
    assert SECRET not in repr(kafka)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, ["KAFKA_BOOTSTRAP_SERVERS"]),
        ({"KAFKA_BOOTSTRAP_SERVERS": "a:9092,"}, ["KAFKA_BOOTSTRAP_SERVERS"]),
        ({"KAFKA_TOPIC": "a/b"}, ["KAFKA_TOPIC"]),
        ({"KAFKA_SESSION_SECONDS": "0"}, ["KAFKA_SESSION_SECONDS"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, ["KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD"]),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_USERNAME": "me"},
            ["KAFKA_PASSWORD"],
        ),
        ({"KAFKA_PASSWORD": SECRET}, ["KAFKA_PASSWORD"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_USERNAME": "me"}, ["KAFKA_USERNAME"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CA_FILE": "/nowhere.pem"}, ["KAFKA_CA_FILE"]),
        ({"KAFKA_CA_FILE": "/nowhere.pem"}, ["KAFKA_CA_FILE", "KAFKA_CA_FILE"]),
    ],
)
def test_mistakes(variables, values, named):
    """Each mistake is reported once, with the name of its variable and without secrets."""
    variables(**values)
    with pytest.raises(SettingError) as caught:
        load(KafkaSettings)
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == named
    assert SECRET not in str(caught.value)


def test_separate_session(monkeypatch):
    """A second session has its own client id and share group, so that it gets every message."""
    for name in list(os.environ):
        if name.startswith("COLLECTOR_"):
            monkeypatch.delenv(name)
    settings = CollectorSettings(client_id="one", share_group="all")
    assert settings.for_role("forward").client_id == "one-forward"
    assert settings.for_role("forward").share_group == "all-forward"
    assert CollectorSettings(client_id="one").for_role("forward").share_group is None
