"""Settings of the collector from the environment; all are checked before the first connection."""

import socket
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings import EnvironmentSettings


class KafkaSettings(EnvironmentSettings):
    """Kafka: KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC, KAFKA_GROUP, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap_servers: str = Field(
        "localhost:9092",
        pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$",
        description="Some brokers of the cluster: host:port, separated by commas.",
    )
    topic: str = Field("telemetry", pattern=r"^[a-zA-Z0-9._-]{1,249}$", description="Topic of the messages.")
    group: str = Field(
        "sensor-warehouse", min_length=1, description="Consumer group; collectors of one group share the partitions."
    )
    topic_header: str = Field(
        "mqtt-topic",
        min_length=1,
        description="Header with the MQTT topic; without it the key is the topic.",
    )
    max_message_bytes: int = Field(
        1_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Largest record that `collector forward` sends; keep it below the topic's max.message.bytes.",
    )
    session_seconds: int = Field(
        45,
        ge=1,
        le=1800,
        description="Seconds until other collectors take over the partitions of a dead one.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port of the forwarder's /metrics, /live and /ready; unset: not served.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Use of TLS (SSL) and login (SASL); use SASL_SSL across a network."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="Login mechanism."
    )
    username: str | None = Field(None, description="User name of the login.")
    password: str | None = Field(None, description="Password of the login.", repr=False)
    ca_file: Path | None = Field(None, description="Certificates (PEM) to trust; default: the system's.")

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Refuse an incomplete login, and settings without effect unless another is set."""
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
        """Return the configuration of any client of this cluster, in librdkafka's names."""
        configuration = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.lower(),
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": str(self.ca_file) if self.ca_file else None,
        }
        return {name: value for name, value in configuration.items() if value is not None}


class RegistrySettings(EnvironmentSettings):
    """The one setting that collector and simulator share: COLLECTOR_REGISTRY."""

    model_config = SettingsConfigDict(env_prefix="COLLECTOR_")

    registry: Path = Field(Path("sensors.json"), description="Path of the registry of sensors.")


class CollectorSettings(RegistrySettings):
    """The collector: COLLECTOR_REGISTRY, COLLECTOR_CLIENT_ID, …"""  # noqa: D400

    client_id: str = Field(
        default_factory=lambda: f"sensor-warehouse-{socket.gethostname()}"[:65],
        min_length=1,
        max_length=65,
        pattern=r"^[\x21-\x7e]+$",
        description="MQTT client id of this collector, also its name in the accounts. Keep it: the broker queues "
        "messages for it while the collector is down. Collectors that run in parallel need different ones.",
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
        description="Maximum seconds that a reading's time may be ahead of its arrival.",
    )
    arrival_limit_seconds: float = Field(
        30,
        ge=0,
        le=3600,
        description="Readings without their own time are quarantined if they may have waited longer than this at "
        "the broker; 0: they are stored with the time of their arrival.",
    )
    max_message_megabytes: int = Field(4, ge=1, le=256, description="Larger messages are quarantined undecoded.")
    max_batch_messages: int = Field(20_000, ge=1, description="Maximum messages per transaction.")
    max_batch_megabytes: int = Field(32, ge=1, description="Maximum payload and row data per transaction.")
    load_connections: int = Field(
        2, ge=1, le=8, description="Database connections that `collector load` writes rows of files over."
    )
    max_discovered: int = Field(
        10_000,
        ge=0,
        description="Maximum number of discovered sensors; readings of others are quarantined.",
    )
    quarantine_megabytes: float = Field(
        1,
        ge=0,
        description="Payloads in quarantine per topic and day; of further ones only size, hash and number are kept. "
        "0: no limit.",
    )
    sparkplug_host_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^/+#]+$",
        description="Sparkplug host id of this collector as primary host of edge nodes: it then publishes its STATE. "
        "Unset: it publishes none.",
    )
    summary_seconds: float = Field(10, gt=0, description="Seconds between two summary lines in the log.")
    drain_seconds: float = Field(30, ge=0, description="Seconds that a stop (SIGTERM) waits for the database.")
    metrics_port: int | None = Field(
        None, ge=0, le=65_535, description="Port of /metrics, /live and /ready; 0: any free port; unset: not served."
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="Listen address of /metrics, /live and /ready.")

    def for_role(self, role: str) -> Self:
        """Return the settings of a separate MQTT session that gets every message that the collector gets.

        Client id and share group get the suffix ``-<role>``: in the same group the two would split the messages.
        """
        group = None if self.share_group is None else f"{self.share_group}-{role}"
        return self.model_copy(update={"client_id": f"{self.client_id}-{role}", "share_group": group})


class ArchiveSettings(EnvironmentSettings):
    """The archive of raw messages: ARCHIVE_DIRECTORY, ARCHIVE_URL, …"""  # noqa: D400

    model_config = SettingsConfigDict(env_prefix="ARCHIVE_")

    directory: Path = Field(Path("archive"), description="Folder of the archive, divided by date and hour.")
    url: str | None = Field(
        None,
        pattern=r"^s3://[^/@?]+(/[^@?]*)?(\?[^@]*)?$",
        description="Object store to use instead of the folder: s3://bucket/prefix?region=…&endpoint_override=host:port"
        "&scheme=https. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or where AWS's tools look.",
    )
    spool: Path | None = Field(
        None,
        description="Folder on a local disk for messages until their file is finished. "
        "Default: .spool in ARCHIVE_DIRECTORY.",
    )
    file_megabytes: int = Field(
        1024,
        ge=1,
        le=65_536,
        description="A file is finished before the end of its hour when the spool has this many megabytes for it.",
    )

    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port of the archiver's /metrics, /live and /ready; unset: not served.",
    )

    @property
    def spool_directory(self) -> Path:
        """Folder of the spool."""
        return self.spool or self.directory / ".spool"
