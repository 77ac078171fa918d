"""Verification of the archive: every message of every file is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pyarrow import fs

from collector.archive.hourly_files import Content, Report, list_by_hour, read_batches


@dataclass
class HourReport:
    """The files of one hour: their content, and errors by file."""

    begins: datetime
    files: int
    size: int
    """Total size of the files in bytes."""
    content: Content
    errors: dict[str, str]


def verify(
    filesystem: fs.FileSystem,
    root: str,
    since: datetime,
    recorded: Mapping[datetime, tuple[int, int]] | None = None,
    on_hour: Callable[[HourReport], None] = lambda _: None,
) -> Report:
    """Read every message of the hours that begin at ``since`` or later; ``on_hour`` gets the report of each hour.

    The archive is at ``root`` of ``filesystem``. ``recorded`` holds the number and size of the files of hours that were
    verified before: an hour before ``since`` is read as well if these have changed, and one without files any more is
    reported with 0 files. Raises ``OSError`` if the archive as a whole can't be read.
    """
    not_seen = {} if recorded is None else dict(recorded)
    files, content = 0, Content()
    errors: dict[str, str] = {}
    for hour, infos in list_by_hour(filesystem, root).items():
        number_and_size = len(infos), sum(info.size for info in infos)
        changed = not_seen.pop(hour, None) != number_and_size and recorded is not None
        if hour < since and not changed:
            continue
        report = _read_hour(filesystem, hour, infos)
        files, content, errors = files + report.files, content + report.content, errors | report.errors
        on_hour(report)
    for hour in not_seen:
        on_hour(HourReport(hour, 0, 0, Content(), {}))
    return Report(files, content, errors)


def _read_hour(filesystem: fs.FileSystem, hour: datetime, infos: list[fs.FileInfo]) -> HourReport:
    report = HourReport(hour, len(infos), sum(info.size for info in infos), Content(), {})
    for info in infos:
        try:
            with filesystem.open_input_file(info.path) as file:
                report.content += Content.of(read_batches(file, hour))
        except (OSError, ValueError, pa.ArrowException) as error:
            report.errors[info.path] = str(error)
    return report
