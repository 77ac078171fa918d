"""Loads every fixture module ``fix_<topic>.py`` in this folder as a pytest plugin."""

from pathlib import Path

pytest_plugins = sorted(path.stem for path in Path(__file__).parent.glob("fix_*.py"))
