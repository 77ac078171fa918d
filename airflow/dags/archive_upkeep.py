"""Verify the archive of raw messages, and compact it.

Every night at 03:30 UTC, where there is an archive (`ARCHIVE_DIRECTORY`, by default `archive/`, or `ARCHIVE_URL`):
hours that are over and lie in several small files of a directory become one file each, then every file of the last two
days, and every older one that is new, is read to its end, each message of it. How many there are by hour is told to the
database (`telemetry.archived`): raw readings are dropped only when they are in the archive. Nothing is ever deleted
that does not stand in another file.

## When it is red
* **`compact`**: the disk refused, or a file can't be read. The originals are all there; the next night goes on.
* **`verify`**: its log names the files that can't be read. Keep them as they are, look at the disk, and fetch them from
  your backup. What stands in them is in the database already, unless the log of `collector archive` says otherwise, and
  stays there until the files are mended (`timescale status`). No connection: the database is told the next night.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="archive_upkeep",
    doc_md=__doc__,
    schedule=defaults.cron("30 3 * * *"),
    tags=["archive"],
    default_args=defaults.defaults(pool="default_pool"),
    **defaults.DAG_RULES,
) as dag:

    @task
    def compact() -> None:
        """Make one file of the several of an hour."""
        from warehouse.command import console  # noqa: PLC0415 - the scheduler reads this file as well, and runs nothing

        console("collector", "archive", "compact")

    @task
    def verify() -> None:
        """Read every file of the last two days, and what is new; tell the database."""
        from warehouse.command import console  # noqa: PLC0415

        console("collector", "archive", "verify", "--days", "2", "--record")

    compact() >> verify()
