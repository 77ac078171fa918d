"""Migrations: fresh, again, step by step, and refused."""

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
