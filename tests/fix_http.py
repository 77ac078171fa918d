"""``access serve`` in a process of its own, as the role that it is meant for, and who asks it."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jsonschema
import psycopg
import pytest
from fix_collector import RunningCollector
from fix_database import Database

from access.auth.tokens import SCOPES, TokenFile, issue

PROGRAM = Path(sys.executable).parent / "access"


class Access(RunningCollector):
    """A server on a free port, and a token for each scope."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.tokens_file = folder / "access-tokens.json"
        self.tokens = {scope: self.token(f"{scope}er", scope) for scope in SCOPES}
        super().__init__(
            {
                "ACCESS_PORT": "0",
                "ACCESS_ADDRESS": "127.0.0.1",
                "ACCESS_TOKENS_FILE": str(self.tokens_file),
                **environment,
            },
            ("serve",),
            PROGRAM,
        )
        self.url = f"http://127.0.0.1:{self.wait_for('serving')['port']}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def token(self, name: str, *scopes: str) -> str:
        """Make a token."""
        secret, token = issue(name, scopes)
        TokenFile(self.tokens_file).add(token)
        return secret

    def headers(self, scope: str | None) -> dict[str, str]:
        """Return the header that lets one in."""
        return {} if scope is None else {"Authorization": f"Bearer {self.tokens[scope]}"}

    def get(self, path: str, scope: str | None = "read", accept: str | None = None, **asked) -> httpx.Response:
        """Ask; ``from_`` stands for from."""
        told = {name.rstrip("_"): value for name, value in asked.items()}
        headers = self.headers(scope) | ({} if accept is None else {"Accept": accept})
        return self.client.get(path, params=told or None, headers=headers)

    def items(self, path: str, **asked) -> list[dict]:
        """Return all items of a list, part by part."""
        answer = self.get(path, **asked)
        assert answer.status_code == 200, answer.text
        found = answer.json()["items"]
        while (following := answer.json()["next"]) is not None:
            answer = self.get(following)
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
        return found

    def post(self, body: object, scope: str | None = "write", **headers) -> httpx.Response:
        """Post readings: bytes as they are, anything else as JSON."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return self.client.post("/readings", content=body, headers=self.headers(scope) | told)
        return self.client.post("/readings", json=body, headers=self.headers(scope) | told)

    def close(self) -> None:
        """End it."""
        self.client.close()
        if self.process.poll() is None:
            self.kill()
        if self.process.stderr:
            self.process.stderr.close()


def problem(answer: httpx.Response, status: int, name: str) -> dict:
    """Return the problem document that ``answer`` is; fails where it is another."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert (found["status"], found["type"]) == (status, f"/problems/{name}")
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == answer.request.url.path
    return found


def validated(document: object, described: dict, path: str, status: str = "200") -> None:
    """Fail unless ``document`` is as the description of ``path`` has it."""
    schema = described["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(document)


@contextmanager
def login(database: Database, role: str = "access_api") -> Iterator[dict[str, str]]:
    """Lend libpq's variables of a login that is a member of ``role`` and nothing else."""
    name, password = f"access_{secrets.token_hex(4)}", secrets.token_hex(8)
    with database.connect() as connection:
        connection.execute(f"create role {name} login password '{password}' in role {role}".encode())
    yield {**database.environment, "PGUSER": name, "PGPASSWORD": password}
    administer = {**database.environment, "PGDATABASE": "postgres"}
    with Database(database.edition, database.server, administer).connect() as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", (name,))
        connection.execute(psycopg.sql.SQL("drop role {}").format(psycopg.sql.Identifier(name)))


@pytest.fixture
def access(database, broker, tmp_path) -> Iterator[Access]:
    """A server over an empty database of its own and the shared broker."""
    with login(database) as environment:
        server = Access({**environment, **broker.environment()}, tmp_path)
        yield server
        server.close()
