#!/usr/bin/python3
"""Triggers the first build of the marts after the first start of Airflow, because scans need the marts."""

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

API = "http://airflow-api-server:8080"
RUNS = "/api/v2/dags/build_marts/dagRuns"


def request(path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    """Send a request and return the JSON of the response."""
    http_request = urllib.request.Request(  # noqa: S310 - a fixed URL
        API + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(http_request, timeout=30) as response:  # noqa: S310
        return json.loads(response.read())


def trigger_first_build() -> None:
    """Trigger a run if there has been none."""
    token = request("/auth/token", {"username": "admin", "password": os.environ["AIRFLOW_PASSWORD"]})["access_token"]
    if not request(RUNS, token=token)["total_entries"]:
        request(RUNS, {"logical_date": None}, token)
        print("first build of the marts triggered")


while True:
    try:
        trigger_first_build()
        break
    except urllib.error.HTTPError as error:
        print(f"retrying: {error}")  # the DAG is not parsed yet
    except OSError as error:
        print(f"retrying: {error}")  # the API server is not ready yet
    time.sleep(5)
