"""Where finished files go: a directory of this machine, or an object store through pyarrow's file systems."""

import errno
import os
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from collector.archive.spool import synchronise
from collector.settings import ArchiveSettings


class Store(Protocol):
    """Takes finished files; raises ``OSError``."""

    def put(self, file: Path, name: str) -> None:
        """Put ``file`` where readers see it as ``name``, whole or not at all, in the place of one that is there.

        ``file`` may be gone afterwards.
        """


class Directory:
    """A directory of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, file: Path, name: str) -> None:
        """Move ``file`` to ``name`` below the directory; its bytes must have been synchronised."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy = target.with_name(f".{target.name}.part")  # readers pass over names with a dot
            with file.open("rb") as source, copy.open("wb") as destination:
                shutil.copyfileobj(source, destination, 1 << 20)
                destination.flush()
                os.fsync(destination.fileno())
            copy.replace(target)
        for directory in (target.parent, *target.parents[1:3]):  # hour, date, the archive
            synchronise(directory)


class Objects:
    """An object store, where an object appears once it has been written to its end.

    ``root`` is the bucket and what stands before the names in it.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def put(self, file: Path, name: str) -> None:
        """Write ``file`` as one object."""
        # In one call: if it fails, parts of an upload are left, which are no object, and never half of one.
        with pa.memory_map(str(file)) as source:
            content = source.read_buffer()
            with self._filesystem.open_output_stream(f"{self._root}/{name}", compression=None) as stream:
                stream.write(content)


def opened(settings: ArchiveSettings) -> Store:
    """Return the store that the settings name; connects to nothing where the region is known."""
    return Directory(settings.directory) if settings.url is None else Objects(*located(settings))


def located(settings: ArchiveSettings) -> tuple[fs.FileSystem, str]:
    """Return what the archive can be read by, and where in it that is; connects to nothing where the region is known.

    Raises ``OSError``.
    """
    if settings.url is None:
        return fs.LocalFileSystem(), str(settings.directory)
    filesystem, root = fs.FileSystem.from_uri(settings.url)
    return filesystem, root.rstrip("/")


def shown(settings: ArchiveSettings) -> str:
    """Return where the store is, for people."""
    if settings.url is None:
        return str(settings.directory)
    parts = urlsplit(settings.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
