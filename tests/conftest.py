"""Loads every fixture module beside it: what lives in ``fix_<topic>.py`` needs no other mention."""

from pathlib import Path

pytest_plugins = sorted(path.stem for path in Path(__file__).parent.glob("fix_*.py"))
