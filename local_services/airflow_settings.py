"""Settings of a local Airflow, as environment variables."""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DAGS = ROOT / "airflow" / "dags"
PLUGINS = ROOT / "airflow" / "plugins"
USER = "admin"
ROLE = "airflow"
"""Owner of the metadata, and name of their database."""
PARALLELISM = 4


def password_file(directory: Path) -> Path:
    """Return the file with the password of :data:`USER`."""
    return directory / "passwords.json"


def settings(environment: Mapping[str, str], secrets: Mapping[str, str], directory: Path, url: str) -> dict[str, str]:
    """Return the settings of an Airflow in ``directory`` whose UI is at ``url``.

    Variables ``AIRFLOW__…`` in ``environment`` take precedence, except those that restrict it to this machine, disable
    telemetry, and separate it from other installations. ``secrets``: ``api``, ``jwt``, ``fernet`` and ``database``.
    """
    server = f"{environment.get('PGHOST', 'localhost')}:{environment.get('PGPORT', '5432')}"
    where = f"{ROLE}:{secrets['database']}@{server}/{ROLE}"
    settings = {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg://{where}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async://{where}",
        # Airflow 3.3.2 shows it as the owner of a DAG whose tasks are all mapped, whatever owner they have.
        "AIRFLOW__OPERATORS__DEFAULT_OWNER": "platform",
        "AIRFLOW__API__INSTANCE_NAME": "Sensor warehouse",
        # Interval at which a supervisor checks the end of its task: the default of 5 s blocks a slot that long.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # Pause of an idle scheduler: a build consists of ten generations of models.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # Seconds after which a killed task is retried; the default is five minutes.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(directory / "logs" / "dag_processor"),
    }
    fixed = {
        "AIRFLOW_HOME": str(directory),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__FERNET_KEY": secrets["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(directory)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets["api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["jwt"],
        # No telemetry, and no name server query for the name of this machine.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "SODA_CORE_TELEMETRY_ENABLED": "false",
        # The version of a DAG changes with its tasks, not with every touch of the dbt project.
        "AIRFLOW__COSMOS__ENABLE_DAG_VERSIONING": "False",
        "AIRFLOW__COSMOS__ENABLE_CACHE": "False",
        "DBT_TARGET_PATH": str(directory / "dbt" / "target"),
        "DBT_LOG_PATH": str(directory / "dbt" / "logs"),
        # At level debug dbt writes tens of thousands of lines, which takes a tenth of a build's time.
        "DBT_LOG_LEVEL_FILE": environment.get("DBT_LOG_LEVEL_FILE") or "info",
        "MARTS_MANIFEST": str(directory / "manifest.json"),
        "CATALOG_FILE": environment.get("CATALOG_FILE") or str(directory.parent / "catalog.html"),
    }
    overrides = {name: value for name, value in environment.items() if name.startswith("AIRFLOW__")}
    return {**settings, **overrides, **fixed}
