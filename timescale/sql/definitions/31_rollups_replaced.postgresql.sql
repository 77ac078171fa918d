-- A replaced value may have been the minimum or the first value of its minute, so the buckets are computed again
-- from the level below. Each level is locked before it is computed: the statement after the lock sees all that earlier
-- holders have committed, and later ones add to its result.
create or replace function telemetry.roll_up_replaced() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    series_ids integer[];
    buckets timestamptz[];
begin
    select
        array_agg(touched.series_id),
        array_agg(touched.bucket)
    into series_ids, buckets
    from (
        select distinct
            series_id,
            date_bin(interval '1 minute', time, timestamptz '2000-01-01 00:00:00+00') as bucket
        from new_rows
    ) as touched;
    if series_ids is null then
        return null;
    end if;

    perform from telemetry.rollup_1m as kept
    inner join unnest(series_ids, buckets) as touched (series_id, bucket)
        on kept.series_id = touched.series_id and kept.bucket = touched.bucket
    order by kept.series_id, kept.bucket
    for update of kept;

    update telemetry.rollup_1m as kept set
        minimum = fresh.minimum,
        maximum = fresh.maximum,
        first_value = fresh.first_value,
        last_value = fresh.last_value,
        sum_value = fresh.sum_value
    from (
        select
            touched.series_id,
            touched.bucket,
            min(reading.value) as minimum,
            max(reading.value) as maximum,
            (array_agg(reading.value order by reading.time))[1] as first_value,
            (array_agg(reading.value order by reading.time desc))[1] as last_value,
            sum(reading.value) as sum_value
        from unnest(series_ids, buckets) as touched (series_id, bucket)
        inner join telemetry.reading
            on
                touched.series_id = reading.series_id
                and reading.time >= touched.bucket
                and reading.time < touched.bucket + interval '1 minute'
        group by 1, 2
    ) as fresh
    where kept.series_id = fresh.series_id and kept.bucket = fresh.bucket;

    select
        array_agg(touched.series_id),
        array_agg(touched.bucket)
    into series_ids, buckets
    from (
        select distinct
            minutes.series_id,
            date_bin(interval '1 hour', minutes.bucket, timestamptz '2000-01-01 00:00:00+00') as bucket
        from unnest(series_ids, buckets) as minutes (series_id, bucket)
    ) as touched;

    perform from telemetry.rollup_1h as kept
    inner join unnest(series_ids, buckets) as touched (series_id, bucket)
        on kept.series_id = touched.series_id and kept.bucket = touched.bucket
    order by kept.series_id, kept.bucket
    for update of kept;

    update telemetry.rollup_1h as kept set
        minimum = fresh.minimum,
        maximum = fresh.maximum,
        first_value = fresh.first_value,
        last_value = fresh.last_value,
        sum_value = fresh.sum_value
    from (
        select
            touched.series_id,
            touched.bucket,
            min(minute.minimum) as minimum,
            max(minute.maximum) as maximum,
            (array_agg(minute.first_value order by minute.bucket))[1] as first_value,
            (array_agg(minute.last_value order by minute.bucket desc))[1] as last_value,
            sum(minute.sum_value) as sum_value
        from unnest(series_ids, buckets) as touched (series_id, bucket)
        inner join telemetry.rollup_1m as minute
            on
                touched.series_id = minute.series_id
                and minute.bucket >= touched.bucket
                and minute.bucket < touched.bucket + interval '1 hour'
        group by 1, 2
    ) as fresh
    where kept.series_id = fresh.series_id and kept.bucket = fresh.bucket;

    select
        array_agg(touched.series_id),
        array_agg(touched.bucket)
    into series_ids, buckets
    from (
        select distinct
            hours.series_id,
            date_bin(interval '24 hours', hours.bucket, timestamptz '2000-01-01 00:00:00+00') as bucket
        from unnest(series_ids, buckets) as hours (series_id, bucket)
    ) as touched;

    perform from telemetry.rollup_1d as kept
    inner join unnest(series_ids, buckets) as touched (series_id, bucket)
        on kept.series_id = touched.series_id and kept.bucket = touched.bucket
    order by kept.series_id, kept.bucket
    for update of kept;

    update telemetry.rollup_1d as kept set
        minimum = fresh.minimum,
        maximum = fresh.maximum,
        first_value = fresh.first_value,
        last_value = fresh.last_value,
        sum_value = fresh.sum_value
    from (
        select
            touched.series_id,
            touched.bucket,
            min(hour.minimum) as minimum,
            max(hour.maximum) as maximum,
            (array_agg(hour.first_value order by hour.bucket))[1] as first_value,
            (array_agg(hour.last_value order by hour.bucket desc))[1] as last_value,
            sum(hour.sum_value) as sum_value
        from unnest(series_ids, buckets) as touched (series_id, bucket)
        inner join telemetry.rollup_1h as hour
            on
                touched.series_id = hour.series_id
                and hour.bucket >= touched.bucket
                and hour.bucket < touched.bucket + interval '24 hours'
        group by 1, 2
    ) as fresh
    where kept.series_id = fresh.series_id and kept.bucket = fresh.bucket;

    return null;
end
$$;

comment on function telemetry.roll_up_replaced() is
'Trigger function: computes again the minutes, hours and days whose readings one update has changed.';

create or replace trigger reading_roll_up_replaced
after update on telemetry.reading
referencing new table as new_rows
for each statement execute function telemetry.roll_up_replaced();

comment on trigger reading_roll_up_replaced on telemetry.reading is
'Keeps reading_1m, reading_1h and reading_1d exact where a value is replaced; a time or series is never changed.';
