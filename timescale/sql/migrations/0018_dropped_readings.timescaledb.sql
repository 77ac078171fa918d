-- Means are permanent: they have the number of readings that were dropped before.
update telemetry.retention set
    dropped_readings = (
        select coalesce(sum(days.sample_count), 0)
        from telemetry.reading_1d as days
        where days.bucket < retention.dropped_before
    )
where dropped_before is not null;
