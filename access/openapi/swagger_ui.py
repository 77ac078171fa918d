"""API documentation page: Swagger UI with local assets only; the page contacts no other server."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sensor-warehouse: HTTP API</title>
<link rel="stylesheet" href="/assets/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/assets/swagger-ui-bundle.js"></script>
<script src="/docs.js"></script>
</body>
</html>
"""

# validatorUrl is null because the validator is a public server of Swagger.
_SCRIPT = """
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});
"""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@router.get("/")
async def root() -> Response:
    """Redirect to the documentation."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs() -> Response:
    """Return the documentation page."""
    return HTMLResponse(_HTML, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs.js")
async def script() -> Response:
    """Return the script that starts Swagger UI."""
    return Response(_SCRIPT, media_type="text/javascript")


def mount(app: FastAPI) -> None:
    """Add the page and its assets to ``app``."""
    app.include_router(router)
    app.mount("/assets", StaticFiles(directory=Path(str(files("fastapi_offline"))) / "static"), name="assets")
