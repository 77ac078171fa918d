"""The registry file while a program runs: a changed file is read and comes into force."""

import time

import structlog

from collector.registry import sensors_file
from collector.settings import CollectorSettings
from collector.store import birth_store
from core.errors import SettingError

log = structlog.get_logger()

_INTERVAL_SECONDS = 1.0


class RegistryWatch:
    """Watches the registry file; ``registry`` is the one in force.

    A file with mistakes changes nothing: they are logged, and the registry in force stays.
    """

    def __init__(self, settings: CollectorSettings) -> None:
        self._path = settings.registry
        self._share_group = settings.share_group
        self._version = self._file_version()  # before reading, so that a change in between is noticed
        self.registry = sensors_file.load(self._path)
        self._checked = time.monotonic()
        self._retry = False

    def _file_version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def retry(self) -> None:
        """Report the last change again: it could not be applied."""
        self._retry = True

    def changed(self) -> bool:
        """Check the file, once a second at most; return whether another registry has come into force."""
        if time.monotonic() - self._checked < _INTERVAL_SECONDS:
            return False
        self._checked = time.monotonic()
        version = self._file_version()
        if version is None or version == self._version:
            retry, self._retry = self._retry, False
            return retry
        self._version = version
        try:
            registry = sensors_file.load(self._path)
            birth_store.check_share_group(registry, self._share_group)
        except SettingError as error:
            log.error("registry has mistakes; the one in force stays", mistakes=str(error))  # noqa: TRY400 - no traceback
            return False
        changed = self._retry or registry != self.registry
        self.registry, self._retry = registry, False
        return changed
