"""The contracts: one YAML file per table, named after it. Cheap to import: the DAG processor lists their names."""

from collections.abc import Sequence
from pathlib import Path

from core.settings import load
from quality.errors import ScanError
from quality.settings import ContractSettings

BUNDLED = Path(__file__).parent


def folder() -> Path:
    """Return the folder of the contracts, QUALITY_CONTRACTS or the bundled ones; raises :class:`SettingError`."""
    return load(ContractSettings).contracts or BUNDLED


def names() -> list[str]:
    """Return the names of all contracts, sorted."""
    return sorted(path.stem for path in folder().glob("*.yml"))


def paths(selected: Sequence[str] | None) -> list[Path]:
    """Return the files of the ``selected`` contracts, each once; None: all, by name.

    Raises :class:`ScanError` for unknown names and if there are no contracts at all: a scan without checks must not
    pass.
    """
    known = names()
    if not known:
        raise ScanError(f"no contracts in {folder()}. Unset QUALITY_CONTRACTS, or set it to a folder with contracts.")
    unknown = [name for name in selected or () if name not in known]
    if unknown:
        raise ScanError(f"no such contract: {', '.join(unknown)}. There are {', '.join(known)}.")
    return [folder() / f"{name}.yml" for name in dict.fromkeys(known if selected is None else selected)]
