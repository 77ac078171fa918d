"""The HTTP interface of the demonstration: on a free port, with a generated token."""

import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_services.child_process import ChildError, installed_program
from local_services.ports import HOST, free_port

PORT = 8088  # not 8080, which Airflow opens later


@dataclass(frozen=True)
class LocalAccess:
    """Its port and its token."""

    port: int
    tokens: Path
    token: str

    @classmethod
    def prepare(cls, directory: Path, environment: Mapping[str, str]) -> "LocalAccess":
        """Choose a port and create a token in ``directory``; raises :class:`ChildError`."""
        tokens = directory / "access-tokens.json"
        tokens.unlink(missing_ok=True)
        result = subprocess.run(
            [installed_program("access"), "token", "new", "demo", "--scope", "read,write,metrics"],
            env={**environment, "ACCESS_TOKENS_FILE": str(tokens)}, cwd=directory,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            raise ChildError(f"can't create a token for the HTTP interface: {result.stderr.strip()}")
        return cls(free_port(PORT), tokens, result.stdout.strip())

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the server."""
        return {"ACCESS_PORT": str(self.port), "ACCESS_TOKENS_FILE": str(self.tokens)}

    @property
    def variables(self) -> dict[str, str]:
        """Variables for a shell."""
        return {"ACCESS_URL": self.url, "ACCESS_TOKEN": self.token}

    def is_ready(self) -> bool:
        """Return whether it, its database and its broker answer."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/ready", timeout=5):
                return True
        except OSError:
            return False

    def usage(self, environment: str) -> str:
        """Return an example request; ``environment`` is the file with its variables."""
        request = 'curl -H "Authorization: Bearer $ACCESS_TOKEN" "$ACCESS_URL/aggregates?window=1m&limit=3"'
        return f"HTTP: {self.url}/docs (token: ACCESS_TOKEN in {environment})\n\n  . {environment} && {request}"
