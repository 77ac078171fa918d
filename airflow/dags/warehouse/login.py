"""The service login that a task uses on the database."""

import os


def act_as(login: str) -> None:
    """Connect as ``login`` from now on, if the environment has its password (``PG_<LOGIN>_PASSWORD``).

    Without that password the process keeps PGUSER: a local installation needs no service logins.
    """
    if password := os.environ.get(f"PG_{login.upper()}_PASSWORD"):
        os.environ.update(PGUSER=login, PGPASSWORD=password)
