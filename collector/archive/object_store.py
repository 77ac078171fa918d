"""Where finished files are stored: a local directory, or an object store through pyarrow's file systems."""

import errno
import os
import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from collector.archive.spool import sync_directory
from collector.settings import ArchiveSettings


class FileStore(Protocol):
    """Stores finished files; raises ``OSError``."""

    def put(self, file: Path, name: str) -> None:
        """Store ``file`` under ``name``, atomically; an existing file is replaced.

        ``file`` may be gone afterwards.
        """


class LocalDirectory:
    """A directory on this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, file: Path, name: str) -> None:
        """Move ``file`` to ``name`` below the directory; its bytes must have been synchronised to disk."""
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy = target.with_name(f".{target.name}.part")  # readers skip names with a leading dot
            with file.open("rb") as source, copy.open("wb") as destination:
                shutil.copyfileobj(source, destination, 1 << 20)
                destination.flush()
                os.fsync(destination.fileno())
            copy.replace(target)
        for directory in (target.parent, *target.parents[1:3]):  # hour, date, the archive
            sync_directory(directory)


class ObjectStore:
    """An object store, where an object becomes visible once it is complete.

    ``root`` is the bucket and the prefix of all names in it.
    """

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def put(self, file: Path, name: str) -> None:
        """Write ``file`` as one object."""
        # In one call: if it fails, parts of an upload may be left, which are no object, and never half an object.
        with pa.memory_map(str(file)) as source:
            content = source.read_buffer()
            with self._filesystem.open_output_stream(f"{self._root}/{name}", compression=None) as stream:
                stream.write(content)


def open_store(settings: ArchiveSettings) -> FileStore:
    """Return the store that the settings name; without a network access if the region is known."""
    return LocalDirectory(settings.directory) if settings.url is None else ObjectStore(*file_system(settings))


def file_system(settings: ArchiveSettings) -> tuple[fs.FileSystem, str]:
    """Return the file system to read the archive with, and its path there; raises ``OSError``.

    Without a network access if the region is known.
    """
    if settings.url is None:
        return fs.LocalFileSystem(), str(settings.directory)
    filesystem, root = fs.FileSystem.from_uri(settings.url)
    return filesystem, root.rstrip("/")


def location(settings: ArchiveSettings) -> str:
    """Return where the store is, as text for people."""
    if settings.url is None:
        return str(settings.directory)
    parts = urlsplit(settings.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
