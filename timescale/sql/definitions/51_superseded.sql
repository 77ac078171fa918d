-- The one way for a collector to change a reading: the value that is replaced is kept in the same statement, so that a
-- second delivery of it is known for what it is. One day at a time, with its bounds and the series as constants: the
-- planner then excludes all other chunks, and opens only the batches of these series of a chunk in the columnstore.
create or replace function telemetry.replace_readings(
    series_ids integer[],
    times timestamptz[],
    old_values double precision[],
    new_values double precision[],
    arrivals timestamptz[],
    published_source text,
    published_at timestamptz[]
) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    day timestamptz;
    changed bigint;
    total bigint := 0;
begin
    for day in
        select distinct date_bin(interval '24 hours', given.time, timestamptz '2000-01-01 00:00:00+00')
        from unnest(times) as given (time)
        order by 1
    loop
        execute format(
            'update telemetry.reading set value = new.value, received_at = new.received_at '
            'from unnest($1, $2, $3, $4, $5) as new (series_id, time, old_value, value, received_at) '
            'where reading.series_id = new.series_id and reading.time = new.time and reading.value = new.old_value '
            'and reading.time >= %L and reading.time < %L and reading.series_id = any(%L::integer[])',
            day,
            day + interval '24 hours',
            (select array_agg(distinct given.series_id) from unnest(series_ids) as given (series_id))
        )
        using series_ids, times, old_values, new_values, arrivals;
        get diagnostics changed = row_count;
        total := total + changed;
    end loop;
    if total <> cardinality(times) then
        raise serialization_failure
        using message = format('%s of %s readings have another value', cardinality(times) - total, cardinality(times));
    end if;
    insert into telemetry.superseded (series_id, time, value, replaced_by, source, received_at, replaced_at)
    select
        given.series_id,
        given.time,
        given.old_value,
        given.new_value,
        published_source,
        given.published_at,
        clock_timestamp()
    from unnest(series_ids, times, old_values, new_values, published_at)
        as given (series_id, time, old_value, new_value, published_at)
    on conflict (series_id, time, value) do update set
        replaced_by = excluded.replaced_by,
        source = excluded.source,
        received_at = excluded.received_at,
        replaced_at = excluded.replaced_at;
end
$$;

comment on function telemetry.replace_readings(
    integer[], timestamptz[], double precision[], double precision[], timestamptz[], text, timestamptz[]
) is
'Gives readings new values and keeps the old ones in telemetry.superseded; fails if one no longer has its old value.';

revoke all on function telemetry.replace_readings(
    integer[], timestamptz[], double precision[], double precision[], timestamptz[], text, timestamptz[]
) from public;

comment on table telemetry.superseded is
'One row per series, timestamp and replaced value: values that a later publish of the same instant has replaced.';
comment on column telemetry.superseded.series_id is 'The measured series: a row of telemetry.series.';
comment on column telemetry.superseded.time is 'Time of measurement.';
comment on column telemetry.superseded.value is 'The replaced value.';
comment on column telemetry.superseded.replaced_by is 'The value that replaced it.';
comment on column telemetry.superseded.source is
'Source of the message that replaced it, as in telemetry.intake; null: unknown, it was stored first.';
comment on column telemetry.superseded.received_at is 'Arrival of the message that replaced it.';
comment on column telemetry.superseded.replaced_at is 'When it was replaced.';
