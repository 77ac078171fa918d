"""Settings from the environment, all checked before the first connection."""

import socket
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.settings import DatabaseSettings, MqttSettings, load, mistakes

__all__ = [
    "ArchiveSettings",
    "CollectorSettings",
    "DatabaseSettings",
    "KafkaSettings",
    "MqttSettings",
    "load",
    "mistakes",
]


class KafkaSettings(BaseSettings):
    """Kafka: KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC, KAFKA_GROUP, …"""  # noqa: D400

    model_config = SettingsConfigDict(
        env_prefix="KAFKA_", extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    bootstrap_servers: str = Field(
        "localhost:9092",
        pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$",
        description="Some brokers of the cluster: host:port, separated by commas.",
    )
    topic: str = Field("telemetry", pattern=r"^[a-zA-Z0-9._-]{1,249}$", description="The topic that messages are on.")
    group: str = Field(
        "sensor-warehouse", min_length=1, description="Consumer group; collectors of one group share the partitions."
    )
    topic_header: str = Field(
        "mqtt-topic", min_length=1, description="Header that holds the MQTT topic; without it the record's key does."
    )
    max_message_bytes: int = Field(
        1_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Largest record that `collector forward` sends; a little less than the topic's max.message.bytes.",
    )
    session_seconds: int = Field(
        45, ge=1, le=1800, description="After so long, others take over the partitions of a collector that vanished."
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port of the forwarder's /metrics, /live and /ready; unset: none is served.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Whether TLS (SSL) and a login (SASL) are used; SASL_SSL across a network."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="How the login is done."
    )
    username: str | None = Field(None, description="User name of the login.")
    password: str | None = Field(None, description="Password of the login.", repr=False)
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust; default: the machine's own.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Refuse a login that lacks a part, and settings that would do nothing without another."""
        wrong = []
        login = {
            "KAFKA_SASL_MECHANISM": self.sasl_mechanism,
            "KAFKA_USERNAME": self.username,
            "KAFKA_PASSWORD": self.password,
        }
        for name, value in login.items():
            if self.security_protocol.startswith("SASL_") and value is None:
                wrong.append(f"{name}: KAFKA_SECURITY_PROTOCOL={self.security_protocol} needs it; set it too")
            if not self.security_protocol.startswith("SASL_") and value is not None:
                wrong.append(
                    f"{name}: KAFKA_SECURITY_PROTOCOL={self.security_protocol} has no login; "
                    "set it to SASL_SSL, or unset this"
                )
        if self.ca_file is not None:
            if not self.ca_file.is_file():
                wrong.append(f"KAFKA_CA_FILE: no such file {self.ca_file}; set it to a PEM file")
            if not self.security_protocol.endswith("SSL"):
                protocol = self.security_protocol
                wrong.append(f"KAFKA_CA_FILE: KAFKA_SECURITY_PROTOCOL={protocol} has no TLS; set it to SSL or SASL_SSL")
        if wrong:
            raise ValueError("\n  ".join(wrong))
        return self

    def client(self) -> dict[str, Any]:
        """Return what any client of this cluster is told, in librdkafka's names."""
        told = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.lower(),
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": str(self.ca_file) if self.ca_file else None,
        }
        return {name: value for name, value in told.items() if value is not None}


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
    load_connections: int = Field(
        2, ge=1, le=8, description="Connections to the database over which `collector load` writes rows of files."
    )
    max_discovered: int = Field(
        10_000, ge=0, description="Most sensors that `discover` registers; those beyond are quarantined."
    )
    sparkplug_host_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^/+#]+$",
        description="Name under which Sparkplug's edge nodes find this collector as their primary host: it then "
        "publishes its STATE. Unset: it publishes none.",
    )
    summary_seconds: float = Field(10, gt=0, description="One summary line every so many seconds.")
    drain_seconds: float = Field(30, ge=0, description="How long SIGTERM waits for the database before giving up.")
    metrics_port: int | None = Field(
        None, ge=0, le=65_535, description="Port of /metrics, /live and /ready; 0: any free one; unset: none is served."
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="Address that these are served on.")

    def beside(self, role: str) -> Self:
        """Return the settings of an MQTT session of its own, which gets every message that the collector gets too.

        Its client id is ``<client id>-<role>``; so is its share group, or the two would split the messages.
        """
        group = None if self.share_group is None else f"{self.share_group}-{role}"
        return self.model_copy(update={"client_id": f"{self.client_id}-{role}", "share_group": group})


class ArchiveSettings(BaseSettings):
    """The archive of raw messages: ARCHIVE_DIRECTORY, ARCHIVE_URL, …"""  # noqa: D400

    model_config = SettingsConfigDict(
        env_prefix="ARCHIVE_", extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    directory: Path = Field(Path("archive"), description="Where the archive's files go, by date and hour.")
    url: str | None = Field(
        None,
        pattern=r"^s3://[^/@?]+(/[^@?]*)?(\?[^@]*)?$",
        description="An object store instead: s3://bucket/prefix?region=…&endpoint_override=host:port&scheme=https. "
        "Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or where AWS's tools look, not from here.",
    )
    spool: Path | None = Field(
        None,
        description="Where messages are kept until their file is finished, on a disk of this machine. "
        "Default: .spool in ARCHIVE_DIRECTORY.",
    )
    file_megabytes: int = Field(
        1024,
        ge=1,
        le=65_536,
        description="A file is finished before its hour is over when so much has gathered in the spool for it.",
    )

    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port of the archiver's /metrics, /live and /ready; unset: none is served.",
    )

    @property
    def spool_directory(self) -> Path:
        """Where the spool is."""
        return self.spool or self.directory / ".spool"
