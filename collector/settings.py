"""Settings from the environment, all checked before the first connection."""

import socket
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from timescale.errors import SettingError


class MqttSettings(BaseSettings):
    """The broker: MQTT_HOST, MQTT_PORT, …"""  # noqa: D400

    model_config = SettingsConfigDict(
        env_prefix="MQTT_", extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = Field("localhost", min_length=1, description="Host of the MQTT broker.")
    port: int = Field(1883, ge=1, le=65_535, description="Its port; usually 1883, 8883 with TLS.")
    username: str | None = Field(None, description="User name, where the broker asks for one.")
    password: str | None = Field(None, description="Password, where the broker asks for one.", repr=False)
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust; setting it turns TLS on.")
    cert_file: Path | None = Field(None, description="This client's certificate (PEM), where the broker asks for one.")
    key_file: Path | None = Field(None, description="The key of MQTT_CERT_FILE (PEM).")

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Refuse files that are not there, and settings that would do nothing without another."""
        files = {"MQTT_CA_FILE": self.ca_file, "MQTT_CERT_FILE": self.cert_file, "MQTT_KEY_FILE": self.key_file}
        wrong = [
            f"{name}: no such file {path}; set it to a PEM file"
            for name, path in files.items()
            if path is not None and not path.is_file()
        ]
        if self.password is not None and self.username is None:
            wrong.append("MQTT_PASSWORD: MQTT 3.1.1 forbids a password without a user; set MQTT_USERNAME too")
        if (self.cert_file is None) != (self.key_file is None):
            wrong.append(
                "MQTT_CERT_FILE, MQTT_KEY_FILE: a certificate and its key belong together; set both or neither"
            )
        elif self.cert_file is not None and self.ca_file is None:
            wrong.append("MQTT_CERT_FILE: without MQTT_CA_FILE there is no TLS; set it too")
        if wrong:
            raise ValueError("\n  ".join(wrong))
        return self


class DatabaseSettings(BaseSettings):
    """What libpq is told: PGPORT, PGSSLMODE, … libpq reads them itself; here they are only checked."""

    model_config = SettingsConfigDict(env_prefix="PG", extra="ignore", env_ignore_empty=True)

    port: str = Field("5432", pattern=r"^\d{1,5}(,\d{0,5})*$", description="Port of the database (or ports, as hosts).")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="Whether the connection to the database is encrypted; verify-full across a network."
    )


class CollectorSettings(BaseSettings):
    """The collector: COLLECTOR_REGISTRY, COLLECTOR_CLIENT_ID, …"""  # noqa: D400

    model_config = SettingsConfigDict(
        env_prefix="COLLECTOR_", extra="ignore", allow_inf_nan=False, env_ignore_empty=True
    )

    registry: Path = Field(Path("sensors.json"), description="The registry of sensors.")
    client_id: str = Field(
        default_factory=lambda: f"sensor-warehouse-{socket.gethostname()}"[:65],
        min_length=1,
        max_length=65,
        pattern=r"^[\x21-\x7e]+$",
        description="Name of this collector at the broker and in the accounts. Keep it: the broker holds this client's "
        "messages while it is away. Collectors that run side by side need different ones.",
    )
    share_group: str | None = Field(
        None,
        pattern=r"^[^/+#]+$",
        description="Collectors of one group share the load ($share/<group>/…); mosquitto and others, not NATS.",
    )
    keepalive_seconds: int = Field(30, ge=5, le=3600, description="MQTT keep-alive.")
    max_future_seconds: float = Field(
        300,
        ge=0,
        le=315_576_000,
        description="How far ahead of its arrival a reading's time may be.",
    )
    max_message_megabytes: int = Field(4, ge=1, le=256, description="Larger messages are quarantined undecoded.")
    max_batch_messages: int = Field(20_000, ge=1, description="Most messages that wait for one transaction.")
    max_batch_megabytes: int = Field(32, ge=1, description="Most payload and row data that waits for one transaction.")
    summary_seconds: float = Field(10, gt=0, description="One summary line every so many seconds.")
    drain_seconds: float = Field(30, ge=0, description="How long SIGTERM waits for the database before giving up.")

    def beside(self, role: str) -> Self:
        """Return the settings of an MQTT session of its own, which gets every message that the collector gets too.

        Its client id is ``<client id>-<role>``; so is its share group, or the two would split the messages.
        """
        group = None if self.share_group is None else f"{self.share_group}-{role}"
        return self.model_copy(update={"client_id": f"{self.client_id}-{role}", "share_group": group})


Settings = TypeVar("Settings", bound=BaseSettings)


def load(model: type[Settings], **overrides: Any) -> Settings:
    """Return the settings of ``model`` from the environment; raises :class:`SettingError` that lists every mistake."""
    try:
        return model(**overrides)
    except ValidationError as error:
        raise SettingError("\n".join(["wrong settings", *mistakes(model, error)])) from error


def mistakes(model: type[BaseSettings], error: ValidationError) -> list[str]:
    """Return one line a mistake: the variable, what is wrong, what it is for."""
    prefix = model.model_config.get("env_prefix", "")
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        message = detail["msg"].removeprefix("Value error, ")
        if detail["loc"]:
            name = str(detail["loc"][0])
            about = model.model_fields[name].description if name in model.model_fields else ""
            message = f"{prefix}{name.upper()}: {message}. {about}"
        lines.append(f"  {message}")
    return lines
