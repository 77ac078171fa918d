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
    level text;
    width interval;
begin
    if tg_relid <> 'telemetry.reading'::regclass then
        raise insufficient_privilege using message = 'telemetry.roll_up_replaced is a trigger of telemetry.reading only';
    end if;
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

    perform from telemetry.rollup_1m as stored
    inner join unnest(series_ids, buckets) as touched (series_id, bucket)
        on stored.series_id = touched.series_id and stored.bucket = touched.bucket
    order by stored.series_id, stored.bucket
    for update of stored;

    update telemetry.rollup_1m as stored set
        minimum = computed.minimum,
        maximum = computed.maximum,
        first_value = computed.first_value,
        last_value = computed.last_value,
        sum_value = computed.sum_value
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
    ) as computed
    where stored.series_id = computed.series_id and stored.bucket = computed.bucket;

    foreach level in array array['1h', '1d'] loop
        width := case level when '1h' then interval '1 hour' else interval '24 hours' end;
        select
            array_agg(touched.series_id),
            array_agg(touched.bucket)
        into series_ids, buckets
        from (
            select distinct
                below.series_id,
                date_bin(width, below.bucket, timestamptz '2000-01-01 00:00:00+00') as bucket
            from unnest(series_ids, buckets) as below (series_id, bucket)
        ) as touched;

        execute format(
            $query$
                select from telemetry.rollup_%s as stored
                inner join unnest($1, $2) as touched (series_id, bucket)
                    on stored.series_id = touched.series_id and stored.bucket = touched.bucket
                order by stored.series_id, stored.bucket
                for update of stored
            $query$,
            level
        ) using series_ids, buckets;

        execute format(
            $query$
                update telemetry.rollup_%s as stored set
                    minimum = computed.minimum,
                    maximum = computed.maximum,
                    first_value = computed.first_value,
                    last_value = computed.last_value,
                    sum_value = computed.sum_value
                from (
                    select
                        touched.series_id,
                        touched.bucket,
                        min(below.minimum) as minimum,
                        max(below.maximum) as maximum,
                        (array_agg(below.first_value order by below.bucket))[1] as first_value,
                        (array_agg(below.last_value order by below.bucket desc))[1] as last_value,
                        sum(below.sum_value) as sum_value
                    from unnest($1, $2) as touched (series_id, bucket)
                    inner join telemetry.rollup_%s as below
                        on
                            touched.series_id = below.series_id
                            and below.bucket >= touched.bucket
                            and below.bucket < touched.bucket + $3
                    group by 1, 2
                ) as computed
                where stored.series_id = computed.series_id and stored.bucket = computed.bucket
            $query$,
            level,
            case level when '1h' then '1m' else '1h' end
        ) using series_ids, buckets, width;
    end loop;

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
