"""How every part of the product reads its settings: from the environment, all mistakes told at once."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from timescale.errors import SettingError

Settings = TypeVar("Settings", bound=BaseSettings)


def load(model: type[Settings], **overrides: Any) -> Settings:
    """Return the settings of ``model`` from the environment; raises :class:`SettingError` that lists every mistake."""
    try:
        return model(**overrides)
    except ValidationError as error:
        raise SettingError("\n".join(["wrong settings", *mistakes(model, error)])) from error


def mistakes(model: type[BaseSettings], error: ValidationError) -> list[str]:
    """Return one line a mistake: the variable, what is wrong, what it is for."""
    prefix = model.model_config.get("env_prefix", "")
    lines = []
    for detail in error.errors(include_url=False, include_input=False):
        message = detail["msg"].removeprefix("Value error, ")
        if detail["loc"]:
            name = str(detail["loc"][0])
            about = model.model_fields[name].description if name in model.model_fields else ""
            message = f"{prefix}{name.upper()}: {message}. {about}"
        lines.append(f"  {message}")
    return lines
