"""Migrations: fresh, again, step by step, and refused."""

import subprocess
import sys

from timescale import migrate


def test_migrating_twice_changes_nothing(fresh_database):
    """The second run applies no migration and ends at the same revision."""
    first = migrate.migrate()
    second = migrate.migrate()
    assert (first.edition, first.before, second.applied) == (fresh_database.edition, None, ())
    assert second.before == second.after == first.after


def test_a_migrated_database_knows_its_edition(database):
    """The edition is read from the database."""
    with database.connect() as connection:
        assert migrate.edition(connection) == database.edition


def test_two_migrations_at_once_are_one_after_the_other(fresh_database):
    """Of two commands started together one does the work, and the other finds it done."""
    program = "from timescale.cli import main; main()"
    commands = [
        subprocess.Popen([sys.executable, "-c", program, "migrate"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(command.communicate(timeout=60)[0].splitlines()[0] for command in commands)
    assert [command.returncode for command in commands] == [0, 0]
    assert said == ["applied 0001 The registry: sensors and their series.", "nothing to apply"]
