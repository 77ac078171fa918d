"""docker-compose.yml, the Dockerfile and .env.example: what holds for every service, and that they agree."""

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
    """Each service in turn, with its name."""
    return request.param, SERVICES[request.param]


def test_it_is_supervised_and_bounded(service):
    """A service is restarted (a one-shot is not), its memory and its log are bounded, and its health is asked for."""
    name, told = service
    assert told["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert told["mem_limit"]
    assert told["pids_limit"]
    assert set(told["logging"]["options"]) == {"max-size", "max-file"}
    unasked = ONE_SHOT | {"simulator"}  # they end, or serve nothing
    assert ("test" in told["healthcheck"]) == (name not in unasked)


def test_it_may_do_no_more_than_it_must(service):
    """Its files are read-only (Kafka's scripts can't), it has no privileges (mosquitto has those to drop its own)."""
    name, told = service
    assert told["read_only"] == (name != "kafka")
    assert told["cap_drop"] == ["ALL"]
    assert ("cap_add" in told) == (name == "mosquitto")
    assert "no-new-privileges:true" in told["security_opt"]
    assert "privileged" not in told


def test_its_image_is_pinned(service):
    """No tag moves under a running system."""
    _, told = service
    tag = told["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+\.\d+", tag), told["image"]


def test_it_listens_on_this_machine_alone(service):
    """A port is on 127.0.0.1 and can be moved; only that of devices can be opened to a network."""
    _, told = service
    for port in told.get("ports", []):
        assert re.fullmatch(r"(127\.0\.0\.1|\$\{MQTT_TLS_ADDRESS:-127\.0\.0\.1\}):\$\{[A-Z_]+:-\d+\}:\d+", port), port


def test_what_it_waits_for_is_a_condition(service):
    """Nothing waits for a mere start where health or an end can be waited for."""
    _, told = service
    for name, on in told.get("depends_on", {}).items():
        expected = "service_completed_successfully" if name in ONE_SHOT else "service_healthy"
        assert on["condition"] == expected or (told["command"], name) == (["simulator", "run"], "collector")


def test_every_secret_must_be_set():
    """No secret has a default, and a missing one is named with the mend before anything starts."""
    used = re.findall(r"\$\{(" + SECRET + r")([^}]*)\}", TEXT)
    assert used
    assert {mend for _, mend in used} == {":?is missing in .env - run make secrets"}
    made = re.findall(rf"^({SECRET})=$", EXAMPLE, re.MULTILINE)
    assert {name for name, _ in used} == set(made)
    assert re.findall(rf"^#?{SECRET}=.+$", EXAMPLE, re.MULTILINE) == []


def test_every_setting_is_explained():
    """What docker-compose.yml reads from .env stands in .env.example, with the same default."""
    explained = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", TEXT):
        if name == "REVISION":  # of the commit that an image is built from
            continue
        # compose shares the load unless told otherwise; a collector on its own does not
        assert explained[name] == default or (name, default) == ("COLLECTOR_SHARE_GROUP", "collectors"), name


def test_every_setting_of_the_services_reaches_them():
    """A setting of a part of the product in .env reaches the service that reads it."""
    own = {  # of commands that people run, or said by docker-compose.yml itself
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
    passed = {name for told in SERVICES.values() for name in told.get("environment", {})}
    names = re.findall(r"^#?((?:ACCESS|COLLECTOR|ARCHIVE|QUALITY|SIMULATOR|TIMESCALE)_[A-Z_]+)=", EXAMPLE, re.MULTILINE)
    names = [name for name in names if name not in ("TIMESCALE_EDITION", "TIMESCALEDB_MEMORY")]
    assert sorted(set(names) - passed - own) == []


def test_versions_agree():
    """Base image and uv are the same wherever they are named."""
    assert re.search(r"^ARG BASE_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE)[1] in TEXT
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"ARG UV_VERSION=(.*)", DOCKERFILE)[1] == re.search(r"UV_VERSION := (.*)", makefile)[1]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert f"ARG VERSION={version}" in DOCKERFILE
    own = {told["image"] for told in SERVICES.values() if told["image"].startswith("sensor-warehouse/")}
    assert own == {f"sensor-warehouse/{name}:{version}" for name in ("collector", "services", "airflow")}


def test_every_own_image_is_built_once():
    """One service builds each image; the others take it."""
    built = [told["image"] for told in SERVICES.values() if "build" in told]
    assert len(built) == len(set(built)) == 3
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert all(told["build"]["target"] in stages for told in SERVICES.values() if "build" in told)


def test_each_service_gets_its_own_secrets_alone():
    """The password of one service's login is given to that service, the database and what makes the logins."""
    holders = {}
    for name, told in SERVICES.items():
        for value in told.get("environment", {}).values():
            for secret in re.findall(r"\$\{(" + SECRET + ")", str(value)):
                holders.setdefault(secret, set()).add(name.partition("-")[0])
    assert holders["POSTGRES_PASSWORD"] == {"timescaledb"}
    assert holders["PGPASSWORD"] == {"timescaledb", "migrate", "airflow"}
    assert holders["PG_COLLECTOR_PASSWORD"] == {"migrate", "collector"}
    assert holders["PG_DBT_PASSWORD"] == holders["PG_QUALITY_PASSWORD"] == {"migrate", "airflow"}
    assert holders["MQTT_COLLECTOR_PASSWORD"] == {"mosquitto", "collector"}
    assert holders["MQTT_DEVICES_PASSWORD"] == {"mosquitto"}
