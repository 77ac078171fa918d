"""Parts of the API's description that routes share."""

from typing import Any

from pydantic import BaseModel

from access.openapi.models import Problem
from access.problems import KINDS, MEDIA_TYPE


def answers(model: type[BaseModel], *statuses: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe an answer with ``status`` that is a ``model``, and the problems with ``statuses``."""
    return {status: {"model": model}, **problems(*statuses)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems with these statuses."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [kind for kind in KINDS.values() if kind.status == status]
        about = " ".join(f"{kind.title}: {kind.about}" for kind in kinds)
        content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
        found[status] = {"description": about, "content": content}
    return found
