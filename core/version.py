"""The version of the product; ``pyproject.toml`` is the only place that defines it."""

from importlib import metadata

VERSION = metadata.version("sensor-warehouse")
