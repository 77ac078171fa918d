"""Closes what Airflow and Cosmos would show to anybody: pages about their interfaces, and what Cosmos serves of dbt's.

What stays open without login is the login itself, the UI's empty shell, the version, and whether Airflow is healthy.
"""

import re
from typing import Any

from airflow.plugins_manager import AirflowPlugin

SHUT = re.compile(r"(/(auth|execution))?/(docs|redoc|openapi\.json|changelog)(/.*)?|/cosmos(/.*)?")


class HidePublicDocs:
    """ASGI middleware that answers "not found" for paths that match :data:`SHUT`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "http" and SHUT.fullmatch(scope["path"]):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not found\n"})
        else:
            await self.app(scope, receive, send)


class ClosedPlugin(AirflowPlugin):
    """Puts the middleware before everything that the API server serves."""

    name = "hide_public_docs"
    fastapi_root_middlewares = ({"name": "hide_public_docs", "middleware": HidePublicDocs, "args": [], "kwargs": {}},)
