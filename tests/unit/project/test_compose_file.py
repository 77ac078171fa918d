"""docker-compose.yml, the Dockerfile and .env.example: rules for every service, consistent versions and settings."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = YAML(typ="safe").load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
ONE_SHOT = {"migrate", "airflow-prepare", "airflow-begin"}
SECRET = r"[A-Z_]*(?:PASSWORD|SECRET|FERNET_KEY)"


@pytest.fixture(params=SERVICES)
def service(request):
    """Name and definition of one service per test."""
    return request.param, SERVICES[request.param]


def test_service_is_supervised_and_limited(service):
    """A service restarts (a one-shot does not), has limits for memory and log, and a health check."""
    name, definition = service
    assert definition["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert definition["mem_limit"]
    assert definition["pids_limit"]
    assert set(definition["logging"]["options"]) == {"max-size", "max-file"}
    unchecked = ONE_SHOT | {"simulator"}  # they end, or have no endpoint
    assert ("test" in definition["healthcheck"]) == (name not in unchecked)


def test_service_has_minimal_privileges(service):
    """Read-only root file system (except Kafka), no added capability (except those mosquitto needs to drop root)."""
    name, definition = service
    assert definition["read_only"] == (name != "kafka")
    assert definition["cap_drop"] == ["ALL"]
    assert ("cap_add" in definition) == (name == "mosquitto")
    assert "no-new-privileges:true" in definition["security_opt"]
    assert "privileged" not in definition


def test_image_is_pinned(service):
    """Every tag has a full version."""
    _, definition = service
    tag = definition["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+", tag), definition["image"]


def test_ports_are_on_the_loopback_address(service):
    """Every port is on 127.0.0.1 and configurable; only the devices' port can be opened to the network."""
    _, definition = service
    for port in definition.get("ports", []):
        assert re.fullmatch(r"(127\.0\.0\.1|\$\{MQTT_TLS_ADDRESS:-127\.0\.0\.1\}):\$\{[A-Z_]+:-\d+\}:\d+", port), port


def test_dependencies_wait_for_health_or_completion(service):
    """A dependency waits for health or completion, not only for the start."""
    _, definition = service
    for name, dependency in definition.get("depends_on", {}).items():
        expected = "service_completed_successfully" if name in ONE_SHOT else "service_healthy"
        assert dependency["condition"] == expected or (definition["command"], name) == (
            ["simulator", "run"],
            "collector",
        )


def test_every_secret_must_be_set():
    """No secret has a default; a missing one is reported with the fix before anything starts."""
    used = re.findall(r"\$\{(" + SECRET + r")([^}]*)\}", TEXT)
    assert used
    assert {message for _, message in used} == {":?is missing in .env - run make secrets"}
    generated = re.findall(rf"^({SECRET})=$", EXAMPLE, re.MULTILINE)
    assert {name for name, _ in used} == set(generated)
    assert re.findall(rf"^#?{SECRET}=.+$", EXAMPLE, re.MULTILINE) == []


def test_every_setting_is_in_the_example():
    """Every setting that docker-compose.yml reads is in .env.example with the same default."""
    documented = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT):
        if name == "REVISION":  # the commit of the image
            continue
        # compose shares subscriptions by default; a collector outside of compose does not
        assert documented[name] == default or (name, default) == ("COLLECTOR_SHARE_GROUP", "collectors"), name


def test_every_setting_reaches_its_service():
    """Every setting in .env.example is passed to the service that reads it."""
    exempt = {  # settings of commands outside of compose, or set by docker-compose.yml itself
        "COLLECTOR_REGISTRY",
        "COLLECTOR_LOAD_CONNECTIONS",
        "COLLECTOR_CLIENT_ID",
        "COLLECTOR_METRICS_PORT",
        "COLLECTOR_METRICS_ADDRESS",
        "ARCHIVE_DIRECTORY",
        "ARCHIVE_SPOOL",
        "ARCHIVE_METRICS_PORT",
        "QUALITY_CONTRACTS",
        "ACCESS_ADDRESS",
        "ACCESS_PORT",
        "ACCESS_PUBLISHED_PORT",
        "ACCESS_TOKENS_FILE",
        "ACCESS_CERT_FILE",
        "ACCESS_KEY_FILE",
    }
    passed = {name for definition in SERVICES.values() for name in definition.get("environment", {})}
    names = re.findall(r"^#?((?:ACCESS|COLLECTOR|ARCHIVE|QUALITY|SIMULATOR|TIMESCALE)_[A-Z_]+)=", EXAMPLE, re.MULTILINE)
    names = [name for name in names if name not in ("TIMESCALE_EDITION", "TIMESCALEDB_MEMORY")]
    assert sorted(set(names) - passed - exempt) == []


def test_versions_agree():
    """Base image, uv and the product have the same version everywhere."""
    assert re.search(r"^ARG BASE_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE)[1] in TEXT
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"ARG UV_VERSION=(.*)", DOCKERFILE)[1] == re.search(r"UV_VERSION := (.*)", makefile)[1]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"ARG VERSION={version}" in DOCKERFILE
    images = {
        definition["image"] for definition in SERVICES.values() if definition["image"].startswith("sensor-warehouse/")
    }
    assert images == {f"sensor-warehouse/{name}:{version}" for name in ("collector", "services", "airflow")}


def test_every_image_is_built_by_one_service():
    """One service builds each image of the product; the others use it."""
    built = [definition["image"] for definition in SERVICES.values() if "build" in definition]
    assert len(built) == len(set(built)) == 3
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert all(definition["build"]["target"] in stages for definition in SERVICES.values() if "build" in definition)


def test_each_service_gets_only_its_own_secrets():
    """The password of a service is passed only to that service, its server and the service that creates the logins."""
    holders = {}
    for name, definition in SERVICES.items():
        for value in definition.get("environment", {}).values():
            for secret in re.findall(r"\$\{(" + SECRET + ")", str(value)):
                holders.setdefault(secret, set()).add(name.partition("-")[0])
    assert holders["POSTGRES_PASSWORD"] == {"timescaledb"}
    assert holders["PGPASSWORD"] == {"timescaledb", "migrate", "airflow"}
    assert holders["PG_COLLECTOR_PASSWORD"] == {"migrate", "collector"}
    assert holders["PG_DBT_PASSWORD"] == holders["PG_QUALITY_PASSWORD"] == {"migrate", "airflow"}
    assert holders["MQTT_COLLECTOR_PASSWORD"] == {"mosquitto", "collector"}
    assert holders["MQTT_DEVICES_PASSWORD"] == {"mosquitto"}
