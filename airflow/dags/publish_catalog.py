"""Publish the catalog, one page that describes every table.

Whenever `build_marts` has updated its asset: the page that describes every table is made anew and put in the place of
the old one, whole or not at all (`CATALOG_FILE`, by default `.local/catalog.html`; any web server can serve it).

## When it is red
The old page stays. The log has what `make catalog` says: mostly the database was away, and the next build mends it.
*The page is not made as it was*: dbt was upgraded, and `dbt_project/catalog.py` must follow.
"""

from airflow.sdk import DAG, task

from warehouse import rules

with DAG(
    dag_id="publish_catalog",
    doc_md=__doc__,
    schedule=[rules.MARTS],
    tags=["dbt", "catalog"],
    default_args=rules.defaults(owner="analytics", login="dbt"),
    **rules.DAG_RULES,
) as dag:

    @task
    def catalog() -> None:
        """Make the page and put it in its place."""
        from warehouse.command import python  # noqa: PLC0415 - the scheduler reads this file as well, and runs nothing

        folder = rules.HOME / "catalog"
        python(rules.DBT_PROJECT / "catalog.py", DBT_TARGET_PATH=str(folder))
        rules.CATALOG.parent.mkdir(parents=True, exist_ok=True)
        part = rules.CATALOG.with_name(f".{rules.CATALOG.name}.part")
        part.write_bytes((folder / "static_index.html").read_bytes())
        part.replace(rules.CATALOG)
        print(f"published {rules.CATALOG}")

    catalog()
