"""Publish the catalog: one page that describes every table.

After each update of the asset of `build_marts`: the page is generated again and replaces the old one atomically
(`CATALOG_FILE`, by default `.local/catalog.html`; any web server can serve it).

## When it is red
The old page stays. The log is the output of `make catalog`. Most often the database was unreachable; the next build
publishes the page. *dbt generates its page in another format*: dbt was upgraded; adapt `dbt_project/catalog.py`.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="publish_catalog",
    doc_md=__doc__,
    schedule=[defaults.MARTS],
    tags=["dbt", "catalog"],
    default_args=defaults.task_defaults(owner="analytics", login="dbt"),
    **defaults.DAG_DEFAULTS,
) as dag:

    @task
    def catalog() -> None:
        """Generate the page and replace the published one."""
        from warehouse.command import run_script  # noqa: PLC0415 - the scheduler imports this file too and runs nothing

        folder = defaults.AIRFLOW_HOME / "catalog"
        run_script(defaults.DBT_PROJECT / "catalog.py", DBT_TARGET_PATH=str(folder))
        defaults.CATALOG.parent.mkdir(parents=True, exist_ok=True)
        part = defaults.CATALOG.with_name(f".{defaults.CATALOG.name}.part")
        part.write_bytes((folder / "static_index.html").read_bytes())
        part.replace(defaults.CATALOG)
        print(f"published {defaults.CATALOG}")

    catalog()
