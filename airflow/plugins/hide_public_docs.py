"""Hides pages that Airflow and Cosmos serve without a login: API documentation, and the dbt docs of Cosmos.

Still public are the login page, the empty page of the UI, the version and the health status.
"""

import re
from typing import Any

from airflow.plugins_manager import AirflowPlugin

HIDDEN = re.compile(r"(/(auth|execution))?/(docs|redoc|openapi\.json|changelog)(/.*)?|/cosmos(/.*)?")


class HidePublicDocs:
    """ASGI middleware that answers 404 for paths that match :data:`HIDDEN`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "http" and HIDDEN.fullmatch(scope["path"]):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not found\n"})
        else:
            await self.app(scope, receive, send)


class HidePublicDocsPlugin(AirflowPlugin):
    """Installs the middleware in front of every route of the API server."""

    name = "hide_public_docs"
    fastapi_root_middlewares = ({"name": "hide_public_docs", "middleware": HidePublicDocs, "args": [], "kwargs": {}},)
