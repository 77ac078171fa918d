"""Drop what is older than anybody wants it kept.

Every night at 04:30 UTC, after the archive was verified: `timescale retention` drops raw readings older than
`TIMESCALE_RETENTION_DAYS` (the means stay for ever) that are in the archive, in the means, and scanned, and what was
settled in quarantine three months ago. Without a retention nothing is dropped. What is held back, and by what, stands
in the log and in `timescale status`; that is no error here, and an alert when it lasts. On TimescaleDB a job of the
database's own does the same every hour; without TimescaleDB this is what does it.

## When it is red
Nothing is lost: what should go stays a night longer. The log has the database's words. *Lock timeout*: something else
held the readings; the next try or night does it. Out of disk meanwhile: `timescale status` shows what takes the room.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="retention",
    doc_md=__doc__,
    schedule=defaults.cron("30 4 * * *"),
    tags=["database"],
    default_args=defaults.defaults(),
    **defaults.DAG_RULES,
) as dag:

    @task(**defaults.WRITES)
    def drop() -> None:
        """Have the database drop what waits for nothing."""
        from warehouse.command import console  # noqa: PLC0415 - the scheduler reads this file as well, and runs nothing

        console("timescale", "retention")

    drop()
