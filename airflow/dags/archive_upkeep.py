"""Verify the archive of raw messages, and compact it.

Every night at 03:30 UTC, if there is an archive (`ARCHIVE_DIRECTORY`, by default `archive/`, or `ARCHIVE_URL`):
`compact` merges the small files of each completed hour of a directory into one file. `verify` then reads every message
of every file of the last two days and of every older file that is new, and records the number of messages per hour in
the database (`telemetry.archived`): raw readings are dropped only if they are in the archive. A file is deleted only
after its messages are in another file.

## When it is red
* **`compact`**: a write to the disk failed, or a file can't be read. All originals are still there; the next run
  continues.
* **`verify`**: its log names the files that can't be read. Keep them unchanged, check the disk, and restore them from
  your backup. Their messages are already in the database, unless the log of `collector archive` says otherwise, and
  stay there until the files are repaired (`timescale status`). No connection: the next run records the counts.
"""

from airflow.sdk import DAG, task

from warehouse import defaults

with DAG(
    dag_id="archive_upkeep",
    doc_md=__doc__,
    schedule=defaults.cron("30 3 * * *"),
    tags=["archive"],
    default_args=defaults.task_defaults(pool="default_pool"),
    **defaults.DAG_DEFAULTS,
) as dag:

    @task
    def compact() -> None:
        """Merge the files of each completed hour into one."""
        from warehouse.command import run_console_command  # noqa: PLC0415 - the scheduler imports this file too and runs nothing

        run_console_command("collector", "archive", "compact")

    @task
    def verify() -> None:
        """Read every new file and every file of the last two days; record the counts in the database."""
        from warehouse.command import run_console_command  # noqa: PLC0415

        run_console_command("collector", "archive", "verify", "--days", "2", "--record")

    compact() >> verify()
