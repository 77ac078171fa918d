"""Response descriptions that routes share."""

from typing import Any

from pydantic import BaseModel

from access.openapi.models import Problem
from access.problems import KINDS, MEDIA_TYPE


def responses(model: type[BaseModel], *statuses: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe the response ``status`` with a ``model``, and the problems with ``statuses``."""
    return {status: {"model": model}, **problem_responses(*statuses)}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems with ``statuses``."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        kinds = [kind for kind in KINDS.values() if kind.status == status]
        text = " ".join(f"{kind.title}: {kind.explanation}" for kind in kinds)
        content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
        described[status] = {"description": text, "content": content}
    return described
