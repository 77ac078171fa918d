# ruff: noqa: INP001 - a script in a folder of dbt, which is no package
"""``make catalog``: the documentation of all tables as one page that opens from a file, without a server or a network.

dbt writes the page. What its readers need is added here: each mart's sample query stands under its description, ready
to copy (dbt shows ``meta`` as one line of text); the owner is who answers for a table (dbt shows the database's role
under the same name as well); descriptions of columns are shown whole (dbt cuts them off until they are clicked on) and
without mark-up (which dbt shows as it is); unit tests don't stand in the lineage.
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
    """Write the page for the database that ``PG*`` name and say where it is; the exit status is 1 if dbt fails."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - takes seconds, and only this needs it

    options = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    done = dbtRunner().invoke(["--quiet", "docs", "generate", "--static", *options])
    if not done.success:
        return 1  # dbt has said why
    folder = PROJECT / os.environ.get("DBT_TARGET_PATH", "target")
    page, manifest, catalog = (folder / name for name in ("static_index.html", "manifest.json", "catalog.json"))
    page.write_text(finished(page.read_text(), manifest.read_text(), catalog.read_text()))
    if missing := unbuilt(json.loads(manifest.read_text()), json.loads(catalog.read_text())):
        print(f"Not in the database yet, so shown without types: {', '.join(missing)}. `make marts` builds them.")
    print(f"Catalog: {page.resolve().as_uri()} (any browser opens it, without a network)")
    return 0


def finished(page: str, manifest: str, catalog: str) -> str:
    """Return dbt's static ``page``, which contains the texts of ``manifest`` and ``catalog``, with our additions."""
    if [page.count(part) for part in (manifest, catalog, _DBT_TITLE, "</head>")] != [1, 1, 1, 1]:
        raise SystemExit("catalog: dbt's page is not made as it was; dbt_project/catalog.py must follow it")
    described, found = json.loads(manifest), json.loads(catalog)
    described["unit_tests"] = {}
    for kind in ("nodes", "sources"):
        for name, node in described[kind].items():
            for column in node["columns"].values():
                column["description"] = column["description"].replace("`", "")
            meta = node["meta"] or node.get("source_meta", {})
            if query := meta.pop("sample_query", None):
                node["description"] += f"\n\n**Sample query**\n\n```sql\n{query.strip()}\n```\n"
            if owner := meta.get("owner"):
                node["meta"] = node["source_meta"] = {key: value for key, value in meta.items() if key != "owner"}
                found[kind].setdefault(name, {"metadata": {}})["metadata"]["owner"] = owner
    return (
        page.replace(manifest, _inline(described))
        .replace(catalog, _inline(found))
        .replace(_DBT_TITLE, f"<title>{TITLE}</title>")
        .replace("</head>", f"{_STYLE}</head>")
    )


def unbuilt(manifest: dict[str, Any], catalog: dict[str, Any]) -> list[str]:
    """Return the names of models and snapshots that the database doesn't have."""
    return sorted(
        node["name"]
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "snapshot")
        and node["config"]["materialized"] != "ephemeral"
        and name not in catalog["nodes"]
    )


def _inline(document: dict[str, Any]) -> str:
    # "</script>" in a description would end the script that the text stands in.
    return json.dumps(document).replace("</", "<\\/")


if __name__ == "__main__":
    sys.exit(main())
