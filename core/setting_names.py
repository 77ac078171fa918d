"""The known names of settings, and the check that finds misspelled ones in a ``.env`` file.

The names are a list here, because a part of the product must not import the parts above it; a test compares the list
with all settings classes and with ``.env.example``.

Only ``.env`` is checked, which is the product's own file. The environment may have names of other programs with the
same prefixes: Kubernetes, for example, sets ``MQTT_SERVICE_HOST`` for a service called ``mqtt``.
"""

import difflib
from pathlib import Path

from dotenv.parser import parse_stream

from core.errors import SettingError

PREFIXES = ("ACCESS_", "ARCHIVE_", "COLLECTOR_", "KAFKA_", "MQTT_", "QUALITY_", "SIMULATOR_", "TIMESCALE_")
"""Prefixes of the product's settings, except libpq's PG."""

_SETTINGS = """
ACCESS_ADDRESS ACCESS_BODY_SECONDS ACCESS_CERT_FILE ACCESS_CONNECTIONS ACCESS_KEY_FILE ACCESS_MAX_BODY_KILOBYTES
ACCESS_MAX_CONNECTIONS ACCESS_PORT
ACCESS_PUBLISH_SECONDS ACCESS_PUBLISH_TOPIC ACCESS_QUERY_SECONDS ACCESS_REQUESTS_PER_TOKEN ACCESS_TOKENS_FILE
ARCHIVE_DIRECTORY ARCHIVE_FILE_MEGABYTES ARCHIVE_METRICS_PORT ARCHIVE_SPOOL ARCHIVE_URL
COLLECTOR_ARRIVAL_LIMIT_SECONDS COLLECTOR_CLIENT_ID COLLECTOR_DRAIN_SECONDS COLLECTOR_KEEPALIVE_SECONDS
COLLECTOR_LOAD_CONNECTIONS COLLECTOR_MAX_BATCH_MEGABYTES COLLECTOR_MAX_BATCH_MESSAGES COLLECTOR_MAX_DISCOVERED
COLLECTOR_MAX_FUTURE_SECONDS COLLECTOR_MAX_MESSAGE_MEGABYTES COLLECTOR_METRICS_ADDRESS COLLECTOR_METRICS_PORT
COLLECTOR_QUARANTINE_MEGABYTES COLLECTOR_REGISTRY COLLECTOR_SHARE_GROUP COLLECTOR_SPARKPLUG_HOST_ID
COLLECTOR_SUMMARY_SECONDS
KAFKA_BOOTSTRAP_SERVERS KAFKA_CA_FILE KAFKA_GROUP KAFKA_MAX_MESSAGE_BYTES KAFKA_METRICS_PORT KAFKA_PASSWORD
KAFKA_SASL_MECHANISM KAFKA_SECURITY_PROTOCOL KAFKA_SESSION_SECONDS KAFKA_TOPIC KAFKA_TOPIC_HEADER KAFKA_USERNAME
MQTT_CA_FILE MQTT_CERT_FILE MQTT_HOST MQTT_KEY_FILE MQTT_PASSWORD MQTT_PORT MQTT_USERNAME
QUALITY_CONTRACTS QUALITY_DRIFT_QUANTITIES QUALITY_KEEP_DAYS QUALITY_LINK QUALITY_MAIL_FROM QUALITY_MAIL_TO
QUALITY_NOTIFY_SECONDS QUALITY_QUERY_SECONDS QUALITY_REMIND_HOURS QUALITY_SMTP_HOST QUALITY_SMTP_PASSWORD
QUALITY_SMTP_PORT QUALITY_SMTP_SECURITY QUALITY_SMTP_USERNAME QUALITY_WEBHOOK_URL
SIMULATOR_SEED SIMULATOR_WINDOW
TIMESCALE_EDITION TIMESCALE_QUARANTINE_DAYS TIMESCALE_RETENTION_ARCHIVED TIMESCALE_RETENTION_DAYS
TIMESCALE_RETENTION_SCANNED
"""
SETTINGS = frozenset(_SETTINGS.split())
"""Names that the settings classes read."""

_OTHER = """
ACCESS_METRICS_SECRET ACCESS_PUBLISHED_PORT ACCESS_TOKEN ACCESS_URL
KAFKA_PORT
MQTT_ACCESS_PASSWORD MQTT_ARCHIVER_PASSWORD MQTT_COLLECTOR_PASSWORD MQTT_DEVICES_PASSWORD MQTT_FORWARDER_PASSWORD
MQTT_SIMULATOR_PASSWORD MQTT_TLS_ADDRESS MQTT_TLS_NAMES MQTT_TLS_PORT
"""
OTHER = frozenset(_OTHER.split())
"""Names that docker-compose.yml, its services and shells read."""


def check(path: Path) -> None:
    """Raise :class:`SettingError` that lists each unknown name in the ``.env`` file ``path``, with its line."""
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        return
    with file:
        lines = [
            f"  line {binding.original.line}: {binding.key}: no such setting; {_advice(binding.key.upper())}"
            for binding in parse_stream(file)
            if binding.key and _is_unknown(binding.key.upper())
        ]
    if lines:
        raise SettingError("\n".join([f"unknown names in {path}", *lines]))


def _is_unknown(name: str) -> bool:
    return name.startswith(PREFIXES) and name not in SETTINGS and name not in OTHER


def _advice(name: str) -> str:
    nearest = difflib.get_close_matches(name, sorted(SETTINGS | OTHER), n=1)
    return f"the nearest is {nearest[0]}" if nearest else ".env.example lists all"
