"""``make catalog``: one page that opens from a file and asks nothing of any other host."""

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
    """Collects what a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note sources of scripts, pictures and frames, and linked style sheets."""
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "embed"} and values.get("src"):
            self.found.append(f"{tag} {values['src']}")
        if tag == "link" and values.get("rel") in {"stylesheet", "preload", "preconnect", "manifest"}:
            self.found.append(f"{tag} {values.get('href')}")


@pytest.fixture(scope="module")
def folder(servers, tmp_path_factory) -> Path:
    """What ``make catalog`` leaves for a database in which nothing is built yet."""
    servers.get("postgresql")
    database = servers.create("postgresql", template="template")
    folder = tmp_path_factory.mktemp("catalog")
    places = {"DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, PROJECT / "catalog.py"], env={**os.environ, **database.environment, **places},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (folder / "said").write_text(done.stdout)
    servers.drop(database)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    """The page itself."""
    return (folder / "static_index.html").read_text()


def test_the_page_is_complete_in_itself(page):
    """A browser fetches nothing for it, and nobody is told that it was opened."""
    references = References()
    references.feed(page)
    assert references.found == []
    assert re.findall(r"@import|url\((?!['\"]?(?:data:|#))", page.split("<script", 1)[0]) == []
    # dbt's page loads a tracker if the project lets it.
    assert '"send_anonymous_usage_stats": false' in page


def test_the_page_shows_sample_queries_and_owners(page, folder):
    """Every sample query stands in its table's description, and owners are who answers for a table."""
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"].values()
    queries = [node["meta"]["sample_query"] for node in nodes if node["meta"].get("sample_query")]
    assert len(queries) >= 8
    for query in queries:
        assert json.dumps(f"```sql\n{query.strip()}\n```")[1:-1].replace("</", "<\\/") in page
    assert '"owner": "analytics"' in page


def test_what_is_not_built_is_said(folder):
    """The command says which tables the database doesn't have yet, what builds them, and where the page is."""
    said = (folder / "said").read_text()
    assert "fct_quality_day" in said
    assert "`make marts` builds them" in said
    assert f"file://{folder.resolve()}/static_index.html" in said


def test_a_page_of_another_make_is_refused():
    """Should dbt write its page otherwise one day, the command says so instead of writing half a page."""
    patched = subprocess.run(
        [sys.executable, "-c", "import catalog; catalog.finished('<html>', '{}', '{}')"],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert patched.returncode == 1
    assert "dbt's page is not made as it was" in patched.stderr
    assert "Traceback" not in patched.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")
def test_a_browser_without_a_network_shows_the_front_page(folder, tmp_path):
    """Headless Chromium, cut off from every host, shows the front page with its tables, and asks for nothing."""
    log = tmp_path / "net.json"
    shown = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom",
            f"--user-data-dir={tmp_path}", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000",
            f"--log-net-log={log}", f"file://{folder}/static_index.html",
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Whom to ask" in shown.stdout
    assert 'href="#!/model/model.sensor_warehouse.fct_quality_day"' in shown.stdout
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # What Chromium itself asks for has no origin.
    asked = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"}
    assert {url for url in asked if not url.startswith(("file:", "data:", "blob:"))} == set()
