"""The limits of telemetry.threshold are those that programs apply themselves."""

from collector.store import late_hours


def test_late_hours_are_noted_after_the_limit(database):
    """The statement that notes late hours waits as long as telemetry.threshold says."""
    with database.connect() as connection:
        row = connection.execute(
            "select extract(epoch from late_hour_after)::integer / 3600, closed_after > late_hour_after "
            "from telemetry.threshold"
        ).fetchone()
    assert row is not None
    hours, is_closed_later = row
    assert f"interval '{hours} hours'" in late_hours._RECORD
    assert is_closed_later
