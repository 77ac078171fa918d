"""How every part of the product reads its settings: from the environment, with all mistakes reported together.

The settings that several parts share are here too: those of the broker and of the database.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_type_hints

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingError

if TYPE_CHECKING:  # parts that use no broker need not import it
    from paho.mqtt.client import Client

Model = TypeVar("Model", bound="EnvironmentSettings")
Group = TypeVar("Group")
Result = TypeVar("Result")


class EnvironmentSettings(BaseSettings):
    """Base of all settings classes: environment variables with the prefix ``env_prefix``; an empty one is unset."""

    model_config = SettingsConfigDict(
        extra="ignore", hide_input_in_errors=True, env_ignore_empty=True, allow_inf_nan=False
    )


def load(model: type[Model], **overrides: Any) -> Model:
    """Return the settings of ``model`` from the environment; raises :class:`SettingError` that lists every mistake."""
    try:
        return model(**overrides)
    except ValidationError as error:
        raise _wrong_settings(_lines(model, error)) from error


def load_all(group: Callable[..., Group]) -> Group:
    """Return ``group``, a named tuple or dataclass whose fields are settings classes, with all of them loaded.

    Raises :class:`SettingError` that lists every mistake in all of them.
    """
    loaded: dict[str, Any] = {}
    lines: list[str] = []
    for name, model in get_type_hints(group).items():
        try:
            loaded[name] = model()
        except ValidationError as error:
            lines += _lines(model, error)
    if lines:
        raise _wrong_settings(lines)
    return group(**loaded)


def _wrong_settings(lines: list[str]) -> SettingError:
    return SettingError("\n".join(["wrong settings", *lines]))


def _lines(model: type[BaseSettings], error: ValidationError) -> list[str]:
    """Return one line per mistake: the variable, the problem, and the description of the setting."""
    prefix = model.model_config.get("env_prefix", "")
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        message = detail["msg"].removeprefix("Value error, ")
        if detail["loc"]:
            name = str(detail["loc"][0])
            description = model.model_fields[name].description if name in model.model_fields else ""
            message = f"{prefix}{name.upper()}: {message}. {description}"
        lines.append(f"  {message}")
    return lines


class Mistakes:
    """Collects the mistakes of several steps (settings, files, command line), to report all of them at once."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, message: str) -> None:
        """Add one mistake."""
        self._messages.append(message)

    def collect(self, read: Callable[[], Result], place: str = "") -> Result | None:
        """Return the result of ``read``, or None after adding its error with ``place`` before it."""
        try:
            return read()
        except (SettingError, ValueError) as error:
            self._messages.append(f"{place}{error}")
            return None

    def check(self) -> None:
        """Raise :class:`SettingError` with all mistakes, if there are any."""
        if self._messages:
            raise SettingError("\n".join(self._messages))


class MqttSettings(EnvironmentSettings):
    """The broker: MQTT_HOST, MQTT_PORT, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="MQTT_")

    host: str = Field("localhost", min_length=1, description="Host of the MQTT broker.")
    port: int = Field(1883, ge=1, le=65_535, description="Port of the broker; usually 1883, 8883 with TLS.")
    username: str | None = Field(None, description="User name, if the broker requires one.")
    password: str | None = Field(None, description="Password, if the broker requires one.", repr=False)
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust; enables TLS.")
    cert_file: Path | None = Field(None, description="Certificate (PEM) of this client, if the broker requires one.")
    key_file: Path | None = Field(None, description="The key of MQTT_CERT_FILE (PEM).")

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Refuse missing files, and settings without effect unless another is set."""
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

    def configure(self, client: "Client") -> None:
        """Set login and certificates of ``client``; raises :class:`SettingError` where the files can't be used."""
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


class DatabaseSettings(EnvironmentSettings):
    """The database: PGPORT, PGSSLMODE, … libpq reads these variables; this class only checks them."""

    model_config = SettingsConfigDict(env_prefix="PG")

    port: str = Field("5432", pattern=r"^\d{1,5}(,\d{0,5})*$", description="Port of the database (one per host).")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="Encryption of the connection to the database; use verify-full across a network."
    )
