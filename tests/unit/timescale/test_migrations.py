"""The order of the migrations."""

from pathlib import Path

from alembic.script import ScriptDirectory

import timescale

VERSIONS = Path(timescale.__file__).parent / "migrations"


def test_migrations_are_one_chain():
    """Each migration follows the one with the number before: two with the same number could not be applied."""
    script = ScriptDirectory(str(VERSIONS))
    numbers = [migration.revision for migration in script.walk_revisions()][::-1]
    assert script.get_heads() == numbers[-1:]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    assert sorted(path.name[:4] for path in (VERSIONS / "versions").glob("[0-9]*.py")) == numbers
