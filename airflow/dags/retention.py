"""Drop what is older than anybody wants it kept.

Every night at 02:30 UTC: drops raw readings older than `TIMESCALE_RETENTION_DAYS` (the means stay for ever), and what
was settled in quarantine three months ago. Without a retention nothing is dropped. The database's own procedures do
it, which close the days first that they drop (docs/decisions/0002): on TimescaleDB its own jobs call them as well, and
find nothing left to do; without TimescaleDB this is what calls them.

## When it is red
Nothing is lost: what should go stays a night longer. The log has the database's words. *Lock timeout*: something else
held the readings; the next try or night does it. Out of disk meanwhile: `timescale status` shows what takes the room.
"""

from airflow.sdk import DAG, task

from warehouse import rules

with DAG(
    dag_id="retention",
    doc_md=__doc__,
    schedule=rules.cron("30 2 * * *"),
    tags=["database"],
    default_args=rules.defaults(),
    **rules.DAG_RULES,
) as dag:

    @task(**rules.WRITES)
    def drop() -> None:
        """Call the database's own procedures."""
        from timescale.database import connect, wrapped  # noqa: PLC0415 - only where it runs

        with connect(application_name="airflow-retention") as connection, wrapped("retention"):
            connection.execute("call telemetry.apply_retention()")
            connection.execute("select telemetry.purge_quarantine()")
            row = connection.execute("select keep_days, dropped_before from telemetry.retention").fetchone()
        print("kept for {} days; dropped before {}".format(*row or (None, None)))

    drop()
