-- One day lies between what is accepted and what is dropped, so that the refresh has reached every accepted reading
-- before its chunk goes, even where a collector asked just before midnight or the refresh stood still for hours.
create or replace function telemetry.oldest_accepted() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$
    select greatest(
        date_trunc('day', now() - make_interval(days => retention.keep_days), 'UTC'),
        retention.dropped_before + interval '1 day'
    )
    from telemetry.retention
$$;

comment on function telemetry.oldest_accepted() is
'No reading before this instant may be stored: the raw readings of its bucket are dropped or will be; null: all may.';

comment on table telemetry.retention is
'One row: how long raw readings are kept, and since when they are; set by `timescale migrate`.';
comment on column telemetry.retention.keep_days is 'Days for which raw readings are kept at least; null: for ever.';
comment on column telemetry.retention.dropped_before is
'Raw readings before this instant have been dropped, and their means are final; null: none have.';
comment on column telemetry.retention.only_row is 'Always true: there is one row.';
