"""The system account a local server runs under: PostgreSQL refuses root, so root lends it another one."""

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
"""Where root puts what the server's account can't reach in place, as below a directory with mode 0700."""


@dataclass(frozen=True)
class Account:
    """Who runs the server: the user of this process, or for root an unprivileged system user."""

    name: str
    uid: int
    gid: int
    switches: bool
    """Whether the user differs from that of this process."""

    def process(self) -> dict[str, Any]:
        """Return the arguments for :mod:`subprocess` that start a program under this account."""
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop the server in order.
        # PG* variables of the caller must not steer a server (PGPORT, PGDATA) or its initdb.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        more: dict[str, Any] = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switches else {}
        return {"env": {**environment, "LC_ALL": "C"}, "start_new_session": True, "cwd": "/", **more}

    def own(self, path: Path) -> None:
        """Make ``path`` belong to this account."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Tell whether this account may enter (a directory) or run (a file) ``path``."""
        if not self.switches:
            return True
        test = ["/bin/sh", "-c", 'test -r "$1" && test -x "$1"' if path.is_file() else 'test -x "$1"', "sh", str(path)]
        return subprocess.run(test, check=False, **self.process()).returncode == 0

    def directory(self, data: Path) -> Path:
        """Return where the data directory wanted at ``data`` can be, its parent made.

        That is ``data`` itself unless this account can't reach it; the user's directories keep their permissions.
        """
        data = data.absolute()
        try:
            data.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"can't make the directory {data.parent}: {error.strerror}. Choose another one with --data."
            ) from error
        if self.reaches(data.parent):
            return data
        return _shared(hashlib.sha256(str(data).encode()).hexdigest()[:16]) / "postgres"

    def programs(self, bin_dir: Path) -> Path:
        """Return where this account can run the programs of ``bin_dir``; a copy when it can't reach them."""
        if self.reaches(bin_dir / "postgres"):
            return bin_dir
        source = bin_dir.parent
        stamp = (bin_dir / "postgres").stat()
        name = f"{source.absolute()} {stamp.st_size} {stamp.st_mtime_ns}"
        target = _shared("programs") / hashlib.sha256(name.encode()).hexdigest()[:16]
        if not target.exists():
            # Copied aside and renamed, so that a copy that was cut short is never taken for a whole one.
            partial = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copytree(source, partial, symlinks=True)
            for folder, _, files in os.walk(partial):
                Path(folder).chmod(0o755)
                for file in (Path(folder) / one for one in files):
                    if not file.is_symlink():
                        file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
            try:
                partial.rename(target)
            except OSError:  # another start was faster
                shutil.rmtree(partial)
        return target / bin_dir.name


def _shared(name: str) -> Path:
    for folder in (SHARED, SHARED / name):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # ours alone, and whatever the umask the account must pass through
    return SHARED / name


def account() -> Account:
    """Return the account for a server started by this process; raises :class:`SettingError` when root has none."""
    if os.geteuid() != 0:
        me = os.geteuid()
        return Account(str(me), me, os.getegid(), switches=False)
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, user.pw_uid, user.pw_gid, switches=True)
    raise SettingError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as. "
        "Add one (`useradd --system postgres`) or start as an ordinary user."
    )
