"""Drop raw readings and quarantine entries that are older than their retention.

Every night at 04:30 UTC, after the archive was verified: `timescale retention` drops raw readings older than
`TIMESCALE_RETENTION_DAYS` (the aggregates are kept forever) that are archived, aggregated and scanned, and quarantine
entries that were resolved three months ago. Without a retention nothing is dropped. The log and `timescale status` show
which readings are not dropped yet and why; that is no error of this DAG, and an alert if it lasts. On TimescaleDB a
background job of the database does the same every hour; without TimescaleDB only this DAG does it.

## When it is red
Nothing is lost: the old readings stay one night longer. The log has the database's message. *Lock timeout*: another
session had locked the readings; the next retry or night drops them. Disk full: `timescale status` shows what takes the
space.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="retention",
    doc_md=__doc__,
    schedule=defaults.cron("30 4 * * *"),
    tags=["database"],
    default_args=defaults.task_defaults(),
    **defaults.DAG_DEFAULTS,
) as dag:

    @task(**defaults.WRITES)
    def drop() -> None:
        """Drop everything that has passed its retention."""
        from warehouse.command import run_console_command  # noqa: PLC0415 - the scheduler imports this file too and runs nothing

        run_console_command("timescale", "retention")

    drop()
