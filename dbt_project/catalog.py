# ruff: noqa: INP001 - a script in the dbt project, which is not a package
"""``make catalog``: the documentation of all tables as one HTML file that opens without a server or a network.

dbt generates the page. This script adds: each mart's sample query under its description, ready to copy (dbt shows
``meta`` as one line of text); the responsible team as the owner (dbt shows the database role as owner); complete
descriptions of columns (dbt truncates them until they are clicked) without mark-up (dbt does not render it). It removes
unit tests from the lineage.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent
TITLE = "Sensor warehouse: catalog"
_DBT_TITLE = "<title>dbt Docs</title>"
_STYLE = """<style>
td:has(> span[ng-show="!column.expanded"]) { white-space: normal !important; max-width: none !important; }
.table-responsive { max-height: none !important; }
.detail-body { white-space: normal !important; overflow-x: visible !important; }
</style>"""


def main() -> int:
    """Write the page for the database that ``PG*`` name and print its address; the exit status is 1 if dbt fails."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - takes seconds, and only this function needs it

    options = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    result = dbtRunner().invoke(["--quiet", "docs", "generate", "--static", *options])
    if not result.success:
        return 1  # dbt has printed the reason
    folder = PROJECT / os.environ.get("DBT_TARGET_PATH", "target")
    page, manifest, catalog = (folder / name for name in ("static_index.html", "manifest.json", "catalog.json"))
    page.write_text(complete_page(page.read_text(), manifest.read_text(), catalog.read_text()))
    if missing := unbuilt(json.loads(manifest.read_text()), json.loads(catalog.read_text())):
        print(f"Not built yet, therefore without column types: {', '.join(missing)}. `make marts` builds them.")
    print(f"Catalog: {page.resolve().as_uri()} (any browser opens it, without a network)")
    return 0


def complete_page(page: str, manifest: str, catalog: str) -> str:
    """Return dbt's static ``page``, which contains ``manifest`` and ``catalog`` as text, with the additions."""
    if [page.count(part) for part in (manifest, catalog, _DBT_TITLE, "</head>")] != [1, 1, 1, 1]:
        raise SystemExit("catalog: dbt generates its page in another format; dbt_project/catalog.py must be adapted")
    nodes_by_kind, types_by_kind = json.loads(manifest), json.loads(catalog)
    nodes_by_kind["unit_tests"] = {}
    for kind in ("nodes", "sources"):
        for name, node in nodes_by_kind[kind].items():
            for column in node["columns"].values():
                column["description"] = column["description"].replace("`", "")
            meta = node["meta"] or node.get("source_meta", {})
            if query := meta.pop("sample_query", None):
                node["description"] += f"\n\n**Sample query**\n\n```sql\n{query.strip()}\n```\n"
            if owner := meta.get("owner"):
                node["meta"] = node["source_meta"] = {key: value for key, value in meta.items() if key != "owner"}
                types_by_kind[kind].setdefault(name, {"metadata": {}})["metadata"]["owner"] = owner
    return (
        page.replace(manifest, _inline(nodes_by_kind))
        .replace(catalog, _inline(types_by_kind))
        .replace(_DBT_TITLE, f"<title>{TITLE}</title>")
        .replace("</head>", f"{_STYLE}</head>")
    )


def unbuilt(manifest: dict[str, Any], catalog: dict[str, Any]) -> list[str]:
    """Return the names of the models and snapshots that are not in the database."""
    return sorted(
        node["name"]
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
        and node["config"]["materialized"] != "ephemeral"
        and name not in catalog["nodes"]
    )


def _inline(document: dict[str, Any]) -> str:
    # "</script>" in a description would end the script that contains the text.
    return json.dumps(document).replace("</", "<\\/")


if __name__ == "__main__":
    sys.exit(main())
