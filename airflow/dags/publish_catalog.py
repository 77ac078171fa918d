"""Publish the catalog, one page that describes every table.

Whenever `build_marts` has updated its asset: the page that describes every table is made anew and put in the place of
the old one, whole or not at all (`CATALOG_FILE`, by default `.local/catalog.html`; any web server can serve it).

## When it is red
The old page stays. The log has what `make catalog` says: mostly the database was away, and the next build mends it.
*The page is not made as it was*: dbt was upgraded, and `dbt_project/catalog.py` must follow.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="publish_catalog",
    doc_md=__doc__,
    schedule=[defaults.MARTS],
    tags=["dbt", "catalog"],
    default_args=defaults.defaults(owner="analytics", login="dbt"),
    **defaults.DAG_RULES,
) as dag:

    @task
    def catalog() -> None:
        """Make the page and put it in its place."""
        from warehouse.command import python  # noqa: PLC0415 - the scheduler reads this file as well, and runs nothing

        folder = defaults.HOME / "catalog"
        python(defaults.DBT_PROJECT / "catalog.py", DBT_TARGET_PATH=str(folder))
        defaults.CATALOG.parent.mkdir(parents=True, exist_ok=True)
        part = defaults.CATALOG.with_name(f".{defaults.CATALOG.name}.part")
        part.write_bytes((folder / "static_index.html").read_bytes())
        part.replace(defaults.CATALOG)
        print(f"published {defaults.CATALOG}")

    catalog()
