"""The HTTP interface of the demonstration: on a free port, with a token made for it."""

import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_services.broker import HOST, free_port
from local_services.child_process import ChildError, beside

# Not 8080, which is Airflow's: still free while Airflow prepares itself.
PORT = 8088
_ASKED = "window=1m&limit=3"


@dataclass(frozen=True)
class LocalAccess:
    """Where it is, and who may ask."""

    port: int
    tokens: Path
    token: str

    @classmethod
    def prepare(cls, directory: Path, environment: Mapping[str, str]) -> "LocalAccess":
        """Choose a port and make a token in ``directory``; raises :class:`ChildError`."""
        tokens = directory / "access-tokens.json"
        tokens.unlink(missing_ok=True)
        done = subprocess.run(
            [beside("access"), "token", "new", "demo", "--scope", "read,write,metrics"],
            env={**environment, "ACCESS_TOKENS_FILE": str(tokens)}, cwd=directory,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ChildError(f"no token for the HTTP interface: {done.stderr.strip()}")
        return cls(free_port(PORT), tokens, done.stdout.strip())

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """What the server is told."""
        return {"ACCESS_PORT": str(self.port), "ACCESS_TOKENS_FILE": str(self.tokens)}

    @property
    def variables(self) -> dict[str, str]:
        """What a shell is told."""
        return {"ACCESS_URL": self.url, "ACCESS_TOKEN": self.token}

    def is_ready(self) -> bool:
        """Return whether it answers, and its database and broker do."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/ready", timeout=5):
                return True
        except OSError:
            return False

    def invitation(self, environment: str) -> str:
        """Return how to ask it, after the file ``environment`` has been read."""
        line = f'curl -H "Authorization: Bearer $ACCESS_TOKEN" "$ACCESS_URL/aggregates?{_ASKED}"'
        return f"HTTP: {self.url}/docs (token: ACCESS_TOKEN in {environment})\n\n  . {environment} && {line}"
