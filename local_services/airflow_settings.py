"""What a local Airflow is told: its settings, as environment variables."""

from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DAGS = ROOT / "airflow" / "dags"
PLUGINS = ROOT / "airflow" / "plugins"
USER = "admin"
ROLE = "airflow"
"""Of the metadata, and the name of their database."""
PARALLELISM = 4


def password_file(directory: Path) -> Path:
    """Return where the Airflow in ``directory`` keeps the password of :data:`USER`."""
    return directory / "passwords.json"


def settings(given: Mapping[str, str], kept: Mapping[str, str], directory: Path, url: str) -> dict[str, str]:
    """Return the settings of an Airflow in ``directory`` whose UI is at ``url``.

    ``given`` is the environment, whose own ``AIRFLOW__…`` win but for what keeps it to this machine, quiet, and apart
    from others; ``kept`` are its secrets: ``api``, ``jwt``, ``fernet`` and ``database``.
    """
    where = f"{ROLE}:{kept['database']}@{given.get('PGHOST', 'localhost')}:{given.get('PGPORT', '5432')}/{ROLE}"
    settings = {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg://{where}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async://{where}",
        # Shown as the owner of a DAG whose tasks are all mapped, whatever they say (3.3.2).
        "AIRFLOW__OPERATORS__DEFAULT_OWNER": "platform",
        "AIRFLOW__API__INSTANCE_NAME": "Sensor warehouse",
        # How often a task's supervisor looks whether it has ended: the default of 5 s holds its slot for so long.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # How long the scheduler rests when it found nothing to do: a build is ten generations of models.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # A task that was killed, as by Ctrl-C, is taken for dead and tried again after so long, not five minutes.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(directory / "logs" / "dag_processor"),
    }
    fixed = {
        "AIRFLOW_HOME": str(directory),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(directory)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": kept["api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt"],
        # Nobody is told what runs here, and no name server asked for the name of this machine.
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
        # What dbt says of itself when it is debugged fills tens of thousands of lines, a tenth of a build's time.
        "DBT_LOG_LEVEL_FILE": given.get("DBT_LOG_LEVEL_FILE") or "info",
        "MARTS_MANIFEST": str(directory / "manifest.json"),
        "CATALOG_FILE": given.get("CATALOG_FILE") or str(directory.parent / "catalog.html"),
    }
    own = {name: value for name, value in given.items() if name.startswith("AIRFLOW__")}
    return {**settings, **own, **fixed}
