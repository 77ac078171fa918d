"""Compaction of the archive: one file per hour."""

import json
import os
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from collector.archive.hourly_files import GRACE, Content, Report, is_finished, list_by_hour, read_batches
from collector.archive.message_table import open_writer, row_groups
from collector.archive.spool import ArchiveError, sync_directory

_TIMESTAMP_LENGTH = len("20260301T120000123456Z")
_MADE_OF = "made_of"
"""Key in a file's metadata: the names of the files that it replaces, as a JSON list."""


def compact(directory: Path, largest: int, now: datetime) -> Report:
    """Merge the files of each past hour into one, if they have at most ``largest`` bytes together.

    A kill at any moment loses nothing: the new file appears atomically and the old ones are removed afterwards. Those
    that a kill leaves are removed by the next run, since the new file names them. An hour with an unreadable file stays
    as it is. Memory is bounded by a row group. The report is about the new files.
    """
    files, content, errors = 0, Content(), {}
    for hour, infos in list_by_hour(fs.LocalFileSystem(), str(directory)).items():
        if hour + timedelta(hours=1) + GRACE > now:
            continue
        folder = Path(infos[0].path).parent
        try:
            _remove_replaced(folder)
            old = _finished_files(folder)
            if len(old) > 1 and sum(path.stat().st_size for path in old) <= largest:
                content += _merge(folder, hour, old)
                files += 1
        except (OSError, ValueError, ArchiveError, pa.ArrowException) as error:
            errors[str(folder)] = str(error)
    return Report(files, content, errors)


def _merge(folder: Path, hour: datetime, old: list[Path]) -> Content:
    new = folder / f"{old[0].name[:_TIMESTAMP_LENGTH]}-{secrets.token_hex(4)}.parquet"
    part = new.with_name(f".{new.name}.part")  # readers skip names with a leading dot
    expected = Content()

    def batches() -> Iterator["pa.RecordBatch"]:
        nonlocal expected
        for path in old:
            for batch in read_batches(path, hour):
                expected += Content.of([batch])
                yield batch

    try:
        with part.open("wb") as file:
            with open_writer(file) as parquet:
                for table in row_groups(batches()):
                    parquet.write_table(table, row_group_size=table.num_rows)
                parquet.add_key_value_metadata({_MADE_OF: json.dumps([path.name for path in old])})
            file.flush()
            os.fsync(file.fileno())
        written = Content.of(read_batches(part, hour))
        if written != expected:
            raise ArchiveError(
                f"{part} differs from the {len(old)} files it was made of, which stay: {expected}, {written}"
            )
        part.replace(new)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(folder)
    _remove_replaced(folder)
    return written


def _remove_replaced(folder: Path) -> None:
    """Remove the files that another file of the folder replaces."""
    files = _finished_files(folder)
    replaced = {name for path in files for name in _made_of(path)} & {path.name for path in files}
    for name in replaced:
        (folder / name).unlink()
    if replaced:
        sync_directory(folder)


def _made_of(path: Path) -> list[str]:
    metadata: Any = pq.read_metadata(path).metadata or {}
    names: list[str] = json.loads(metadata.get(_MADE_OF.encode(), b"[]"))
    return names


def _finished_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_finished(path.name))
