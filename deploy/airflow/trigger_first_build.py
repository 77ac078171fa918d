#!/usr/bin/python3
"""Has Airflow build the marts once, after its very first start: their next hour may be far, and scans want them."""

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

API = "http://airflow-api-server:8080"
RUNS = "/api/v2/dags/build_marts/dagRuns"


def ask(path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    """Return the answer to a request."""
    request = urllib.request.Request(  # noqa: S310 - our own address
        API + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


def begin() -> None:
    """Start a run where there has been none."""
    token = ask("/auth/token", {"username": "admin", "password": os.environ["AIRFLOW_PASSWORD"]})["access_token"]
    if not ask(RUNS, token=token)["total_entries"]:
        ask(RUNS, {"logical_date": None}, token)
        print("the first build of the marts is started")


while True:
    try:
        begin()
        break
    except urllib.error.HTTPError as error:
        print(f"not yet: {error}")  # the DAG is still being read
    except OSError as error:
        print(f"not yet: {error}")  # the API server is still starting
    time.sleep(5)
