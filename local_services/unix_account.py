"""The system account of a local server: PostgreSQL refuses to run as root, so root runs it as another user."""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SettingError

SHARED = Path("/var/lib/sensor-warehouse")
"""Folder for files that the server's account can't reach elsewhere, as below a directory with mode 0700."""


@dataclass(frozen=True)
class Account:
    """The user of the server: that of this process, or for root an unprivileged system user."""

    name: str
    uid: int
    gid: int
    switches: bool
    """Whether the user differs from that of this process."""

    def process_arguments(self) -> dict[str, Any]:
        """Return arguments for :mod:`subprocess` that start a program under this account."""
        # Its own session: Ctrl-C in the terminal reaches only this process, which then stops the server.
        # Without the PG* variables of the caller, which would change the server (PGPORT, PGDATA) or its initdb.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        switch: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}
        return {"env": {**environment, "LC_ALL": "C"}, "start_new_session": True, "cwd": "/", **switch}

    def take_ownership(self, path: Path) -> None:
        """Make this account the owner of ``path``."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def can_reach(self, path: Path) -> bool:
        """Return whether this account can enter the directory or run the file ``path``."""
        if not self.switches:
            return True
        test = ["/bin/sh", "-c", 'test -r "$1" && test -x "$1"' if path.is_file() else 'test -x "$1"', "sh", str(path)]
        return subprocess.run(test, check=False, **self.process_arguments()).returncode == 0

    def reachable_directory(self, data: Path) -> Path:
        """Return a data directory that this account can reach, and create its parent.

        It is ``data`` if this account can reach that, else one below :data:`SHARED`; permissions of the user's
        directories do not change.
        """
        data = data.absolute()
        try:
            data.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"can't create the directory {data.parent}: {error.strerror}. Choose another one with --data."
            ) from error
        if self.can_reach(data.parent):
            return data
        return _shared(hashlib.sha256(str(data).encode()).hexdigest()[:16]) / "postgres"

    def reachable_programs(self, bin_dir: Path) -> Path:
        """Return ``bin_dir``, or a copy of its installation if this account can't reach it."""
        if self.can_reach(bin_dir / "postgres"):
            return bin_dir
        source = bin_dir.parent
        stamp = (bin_dir / "postgres").stat()
        name = f"{source.absolute()} {stamp.st_size} {stamp.st_mtime_ns}"
        target = _shared("programs") / hashlib.sha256(name.encode()).hexdigest()[:16]
        if not target.exists():
            # Copied under another name and renamed, so that an interrupted copy is never used.
            partial = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copytree(source, partial, symlinks=True)
            for folder, _, files in os.walk(partial):
                Path(folder).chmod(0o755)
                for file in (Path(folder) / name for name in files):
                    if not file.is_symlink():
                        file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
            try:
                partial.rename(target)
            except OSError:  # another start has created it
                shutil.rmtree(partial)
        return target / bin_dir.name


def _shared(name: str) -> Path:
    for folder in (SHARED, SHARED / name):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # whatever the umask, the account must be able to enter
    return SHARED / name


def unix_account() -> Account:
    """Return the account for a server of this process; raises :class:`SettingError` if root has no other user."""
    if os.geteuid() != 0:
        uid = os.geteuid()
        return Account(str(uid), uid, os.getegid(), switches=False)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, user.pw_uid, user.pw_gid, switches=True)
    raise SettingError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody. "
        "Create one (`useradd --system postgres`) or start as an ordinary user."
    )
