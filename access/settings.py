"""Settings of the HTTP interface, all validated before the server starts."""

import ipaddress
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings import DatabaseSettings, EnvironmentSettings, MqttSettings, load_all

DEVICE_PLACEHOLDER = "{device_id}"
"""Placeholder of the device in ACCESS_PUBLISH_TOPIC."""


class AccessSettings(EnvironmentSettings):
    """The HTTP interface: ACCESS_PORT, ACCESS_TOKENS_FILE, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="ACCESS_")

    address: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0: any free port.")
    cert_file: Path | None = Field(None, description="Certificate (PEM) of the server; enables TLS.")
    key_file: Path | None = Field(None, description="Key (PEM) of ACCESS_CERT_FILE.")
    tokens_file: Path = Field(
        Path("access-tokens.json"), description="File of token hashes and scopes; `access token new` writes it."
    )
    publish_topic: str = Field(
        f"sensors/http/{DEVICE_PLACEHOLDER}",
        description="MQTT topic of posted readings; {device_id} is replaced by the name of the device.",
    )
    publish_seconds: float = Field(10, gt=0, le=300, description="Timeout of the broker's acknowledgement.")
    max_body_kilobytes: int = Field(1024, ge=1, le=65_536, description="Maximum size of a request body.")
    connections: int = Field(8, ge=1, le=100, description="Maximum number of database connections.")
    query_seconds: float = Field(30, gt=0, le=3600, description="Timeout of one query.")
    max_connections: int = Field(
        1000,
        ge=20,
        le=50_000,
        description="Maximum number of connections of clients. Further ones replace those that wait for a request; the "
        "limit of open files may lower it.",
    )
    body_seconds: float = Field(30, gt=0, le=3600, description="Maximum time for the body of a request.")
    requests_per_token: int = Field(8, ge=1, le=1000, description="Maximum number of concurrent requests per token.")

    @field_validator("publish_topic")
    @classmethod
    def _topic(cls, text: str) -> str:
        """Refuse a text that is not a topic to publish on."""
        plain = text.replace(DEVICE_PLACEHOLDER, "device")
        if not plain or set("+#\0{}") & set(plain) or plain.startswith("$"):
            raise ValueError(f"must be an MQTT topic without wildcards, for example sensors/http/{DEVICE_PLACEHOLDER}")
        return text

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        """Refuse a certificate without its key, and missing files."""
        files = {"ACCESS_CERT_FILE": self.cert_file, "ACCESS_KEY_FILE": self.key_file}
        mistakes = [
            f"{name}: no such file {path}; set it to a PEM file"
            for name, path in files.items()
            if path is not None and not path.is_file()
        ]
        if (self.cert_file is None) != (self.key_file is None):
            mistakes.append("ACCESS_CERT_FILE, ACCESS_KEY_FILE: a certificate and its key belong together; set both")
        if mistakes:
            raise ValueError("\n  ".join(mistakes))
        return self

    @property
    def is_unencrypted(self) -> bool:
        """Whether tokens are sent unencrypted over the network (without a reverse proxy that adds TLS)."""
        try:
            local = ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            local = self.address == "localhost"
        return not local and self.cert_file is None

    def topic(self, device: str) -> str:
        """Return the topic on which readings of ``device`` are published."""
        return self.publish_topic.replace(DEVICE_PLACEHOLDER, device)


class Settings(NamedTuple):
    """All settings of the HTTP interface."""

    access: AccessSettings
    mqtt: MqttSettings
    database: DatabaseSettings


def load() -> Settings:
    """Return the settings from the environment; raises :class:`SettingError` that lists every mistake."""
    return load_all(Settings)
