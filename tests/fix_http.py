"""``access serve`` in a separate process with a database login of its role, and an HTTP client."""

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
    """A server on a free port, with a token per scope and a client."""

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
        """Create a token."""
        secret, token = issue(name, scopes)
        TokenFile(self.tokens_file).add(token)
        return secret

    def headers(self, scope: str | None) -> dict[str, str]:
        """Return the Authorization header of a scope."""
        return {} if scope is None else {"Authorization": f"Bearer {self.tokens[scope]}"}

    def get(self, path: str, scope: str | None = "read", accept: str | None = None, **params) -> httpx.Response:
        """Send a GET request; the parameter ``from_`` is sent as from."""
        query = {name.rstrip("_"): value for name, value in params.items()}
        headers = self.headers(scope) | ({} if accept is None else {"Accept": accept})
        return self.client.get(path, params=query or None, headers=headers)

    def items(self, path: str, **params) -> list[dict]:
        """Return all items of a list, page by page."""
        response = self.get(path, **params)
        assert response.status_code == 200, response.text
        items = response.json()["items"]
        while (next_url := response.json()["next"]) is not None:
            response = self.get(next_url)
            assert response.status_code == 200, response.text
            items += response.json()["items"]
        return items

    def post(self, body: object, scope: str | None = "write", **headers) -> httpx.Response:
        """Post readings: bytes unchanged, anything else as JSON."""
        header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            return self.client.post("/readings", content=body, headers=self.headers(scope) | header_fields)
        return self.client.post("/readings", json=body, headers=self.headers(scope) | header_fields)

    def close(self) -> None:
        """Stop the server."""
        self.client.close()
        if self.process.poll() is None:
            self.kill()
        if self.process.stderr:
            self.process.stderr.close()


def problem(response: httpx.Response, status: int, name: str) -> dict:
    """Return the problem document of ``response``; fails unless it has this status and kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["status"], document["type"]) == (status, f"/problems/{name}")
    assert document["title"]
    assert document["detail"]
    assert document["instance"] == response.request.url.path
    return document


def validate(document: object, openapi: dict, path: str, status: str = "200") -> None:
    """Fail unless ``document`` matches the schema of ``path``."""
    schema = openapi["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": openapi["components"]}).validate(document)


@contextmanager
def login(database: Database, role: str = "access_api") -> Iterator[dict[str, str]]:
    """Yield libpq's variables of a temporary login that is only a member of ``role``."""
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
    """A server with an empty database and the shared broker."""
    with login(database) as environment:
        server = Access({**environment, **broker.environment()}, tmp_path)
        yield server
        server.close()
