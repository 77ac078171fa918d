"""The contracts: one YAML file a table, named like it. Cheap to import: whoever plans scans asks for their names."""

import os
from collections.abc import Sequence
from pathlib import Path

from quality.errors import ScanError

HERE = Path(__file__).parent


def folder() -> Path:
    """Return where the contracts are: ``QUALITY_CONTRACTS``, or those that come with the product."""
    return Path(os.environ.get("QUALITY_CONTRACTS") or HERE)


def names() -> list[str]:
    """Return the names of all contracts, sorted."""
    return sorted(path.stem for path in folder().glob("*.yml"))


def chosen(wanted: Sequence[str] | None) -> list[Path]:
    """Return the files of the ``wanted`` contracts, each once; None: of all, by name.

    Raises :class:`ScanError` for names that there are no contracts of, and where there is none at all: nothing checked
    must not look like nothing wrong.
    """
    known = names()
    if not known:
        raise ScanError(f"no contracts in {folder()}. Unset QUALITY_CONTRACTS, or set it to a folder that has some.")
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise ScanError(f"no such contract: {', '.join(unknown)}. There are {', '.join(known)}.")
    return [folder() / f"{name}.yml" for name in dict.fromkeys(known if wanted is None else wanted)]
