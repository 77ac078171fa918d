"""How every part of the product reads its settings: from the environment, all mistakes told at once.

Here are also the settings that several parts have in common: where the broker and the database are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingError

if TYPE_CHECKING:  # those that speak to no broker need not import it
    from paho.mqtt.client import Client

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

    def tell(self, client: "Client") -> None:
        """Give ``client`` login and certificates; raises :class:`SettingError` where the files can't be used."""
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        if self.ca_file is None:
            return
        try:
            client.tls_set(
                ca_certs=str(self.ca_file),
                certfile=str(self.cert_file) if self.cert_file else None,
                keyfile=str(self.key_file) if self.key_file else None,
            )
        except (OSError, ValueError) as error:
            raise SettingError(f"MQTT_CA_FILE, MQTT_CERT_FILE or MQTT_KEY_FILE can't be used: {error}") from error


class DatabaseSettings(BaseSettings):
    """What libpq is told: PGPORT, PGSSLMODE, … libpq reads them itself; here they are only checked."""

    model_config = SettingsConfigDict(env_prefix="PG", extra="ignore", env_ignore_empty=True)

    port: str = Field("5432", pattern=r"^\d{1,5}(,\d{0,5})*$", description="Port of the database (or ports, as hosts).")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="Whether the connection to the database is encrypted; verify-full across a network."
    )
