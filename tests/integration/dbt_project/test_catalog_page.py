"""``make catalog``: one page that opens from a file and sends no request to any host."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fix_marts import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class References(HTMLParser):
    """Collects the addresses that a browser fetches for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the sources of scripts, pictures and frames, and linked style sheets."""
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "embed"} and values.get("src"):
            self.addresses.append(f"{tag} {values['src']}")
        if tag == "link" and values.get("rel") in {"stylesheet", "preload", "preconnect", "manifest"}:
            self.addresses.append(f"{tag} {values.get('href')}")


@pytest.fixture(scope="module")
def folder(servers, tmp_path_factory) -> Path:
    """The output of ``make catalog`` for a database in which nothing is built yet."""
    servers.get("postgresql")
    database = servers.create("postgresql", template="template")
    folder = tmp_path_factory.mktemp("catalog")
    places = {"DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder)}
    result = subprocess.run(
        [sys.executable, PROJECT / "catalog.py"], env={**os.environ, **database.environment, **places},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (folder / "output").write_text(result.stdout)
    servers.drop(database)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    """The page itself."""
    return (folder / "static_index.html").read_text()


def test_the_page_is_self_contained(page):
    """A browser fetches nothing for it, and no tracker is loaded."""
    references = References()
    references.feed(page)
    assert references.addresses == []
    assert re.findall(r"@import|url\((?!['\"]?(?:data:|#))", page.split("<script", 1)[0]) == []
    # dbt's page loads a tracker if the project lets it.
    assert '"send_anonymous_usage_stats": false' in page


def test_the_page_shows_sample_queries_and_owners(page, folder):
    """Every sample query is in its table's description, and owners are the responsible teams."""
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"].values()
    queries = [node["meta"]["sample_query"] for node in nodes if node["meta"].get("sample_query")]
    assert len(queries) >= 8
    for query in queries:
        assert json.dumps(f"```sql\n{query.strip()}\n```")[1:-1].replace("</", "<\\/") in page
    assert '"owner": "analytics"' in page


def test_tables_that_are_not_built_are_listed(folder):
    """The command prints the tables that are not built, how to build them, and the address of the page."""
    output = (folder / "output").read_text()
    assert "fct_quality_day" in output
    assert "`make marts` builds them" in output
    assert f"file://{folder.resolve()}/static_index.html" in output


def test_a_page_in_another_format_is_rejected():
    """If dbt generates its page in another format, the command reports it and does not write an incomplete page."""
    patched = subprocess.run(
        [sys.executable, "-c", "import catalog; catalog.complete_page('<html>', '{}', '{}')"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert patched.returncode == 1
    assert "dbt generates its page in another format" in patched.stderr
    assert "Traceback" not in patched.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")
def test_a_browser_without_a_network_shows_the_front_page(folder, tmp_path):
    """Headless Chromium without access to any host shows the front page with its tables and requests nothing."""
    log = tmp_path / "net.json"
    shown = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom",
            f"--user-data-dir={tmp_path}", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000",
            f"--log-net-log={log}", f"file://{folder}/static_index.html",
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Owners and contact" in shown.stdout
    assert 'href="#!/model/model.sensor_warehouse.fct_quality_day"' in shown.stdout
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # Chromium's own requests have no origin.
    requested = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"}
    assert {url for url in requested if not url.startswith(("file:", "data:", "blob:"))} == set()
