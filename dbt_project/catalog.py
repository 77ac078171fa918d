# ruff: noqa: INP001 - a script in a folder of dbt, which is no package
"""``make catalog``: the documentation of all tables as one page that opens from a file, without a server or a network.

dbt writes the page. Two things that a reader of it needs are added here: each mart's sample query stands under its
description, ready to copy (dbt shows ``meta`` as one line of text), and descriptions of columns are shown whole (dbt
cuts them off until they are clicked on).
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner

PROJECT = Path(__file__).parent
_STYLE = """
<style>
td:has(> span[ng-show="!column.expanded"]) { white-space: normal !important; max-width: none !important; }
.detail-body { flex-wrap: wrap; }
</style>
"""


def main() -> int:
    """Write the page for the database that ``PG*`` name and say where it is; the exit status is dbt's."""
    os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
    arguments = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    done = dbtRunner().invoke(["--quiet", "docs", "generate", "--static", *arguments])
    if not done.success:
        # dbt has said why, unless the command itself was wrong.
        print(f"catalog: {done.exception or 'not written'}", file=sys.stderr)
        return 1
    folder = PROJECT / os.environ.get("DBT_TARGET_PATH", "target")
    page = folder / "static_index.html"
    manifest = (folder / "manifest.json").read_text()
    page.write_text(finished(page.read_text(), manifest))
    if missing := unbuilt(json.loads(manifest), json.loads((folder / "catalog.json").read_text())):
        print(f"Not in the database yet, so without types: {', '.join(missing)}. `make marts` builds them.")
    print(f"Catalog: {page.resolve().as_uri()} (open it in a browser; it needs no network)")
    return 0


def finished(page: str, manifest: str) -> str:
    """Return dbt's static page, into which it has put the text ``manifest``, with sample queries and our style."""
    if page.count(manifest) != 1 or "</head>" not in page:
        raise SystemExit("catalog: dbt's page is not made as it was; dbt_project/catalog.py must follow it")
    tables = json.loads(manifest)
    for node in tables["nodes"].values():
        show_sample_query(node)
    return page.replace(manifest, json.dumps(tables).replace("</", "<\\/")).replace("</head>", f"{_STYLE}</head>", 1)


def show_sample_query(node: dict[str, Any]) -> None:
    """Move a node's ``meta.sample_query`` to the end of its description."""
    query = node.get("meta", {}).pop("sample_query", None)
    node.get("config", {}).get("meta", {}).pop("sample_query", None)
    if query:
        node["description"] += f"\n\n**Sample query**\n\n```sql\n{query.strip()}\n```\n"


def unbuilt(manifest: dict[str, Any], catalog: dict[str, Any]) -> list[str]:
    """Return the names of models and snapshots that the database doesn't have."""
    return sorted(
        node["name"]
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
        and node["config"]["materialized"] != "ephemeral"
        and name not in catalog["nodes"]
    )


if __name__ == "__main__":
    sys.exit(main())
