-- Statement by statement in the same order of levels, and in key order within each: writers that run at the same time
-- wait for each other, but never in a circle. First and last values are looked up by their times among the rows that
-- are there by now: to sort all new rows by time takes longer. The upper levels are built from the new minutes, not
-- from the new rows, which makes them nearly free.
-- With its owner's rights: who may add readings may not change their means otherwise.
create or replace function telemetry.roll_up() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    minutes telemetry.rollup_1m[];
begin
    select array_agg(row(fresh.*)::telemetry.rollup_1m)
    into minutes
    from (
        select
            bucket,
            series_id,
            first_time,
            last_time,
            minimum,
            maximum,
            case
                when sample_count = 1 then minimum
                else (
                    select value from telemetry.reading
                    where reading.series_id = plain.series_id and reading.time = plain.first_time
                )
            end as first_value,
            case
                when sample_count = 1 then maximum
                else (
                    select value from telemetry.reading
                    where reading.series_id = plain.series_id and reading.time = plain.last_time
                )
            end as last_value,
            sum_value,
            sample_count
        from (
            select
                date_bin(interval '1 minute', time, timestamptz '2000-01-01 00:00:00+00') as bucket,
                series_id,
                min(time) as first_time,
                max(time) as last_time,
                min(value) as minimum,
                max(value) as maximum,
                sum(value) as sum_value,
                count(*) as sample_count
            from new_rows
            group by 1, 2
        ) as plain
        order by 2, 1
    ) as fresh;

    insert into telemetry.rollup_1m as kept
    select * from unnest(minutes) as fresh
    on conflict (series_id, bucket) do update set
        first_value
        = case when excluded.first_time < kept.first_time then excluded.first_value else kept.first_value end,
        last_value = case when excluded.last_time > kept.last_time then excluded.last_value else kept.last_value end,
        first_time = least(kept.first_time, excluded.first_time),
        last_time = greatest(kept.last_time, excluded.last_time),
        minimum = least(kept.minimum, excluded.minimum),
        maximum = greatest(kept.maximum, excluded.maximum),
        sum_value = kept.sum_value + excluded.sum_value,
        sample_count = kept.sample_count + excluded.sample_count;

    insert into telemetry.rollup_1h as kept
    select
        date_bin(interval '1 hour', bucket, timestamptz '2000-01-01 00:00:00+00'),
        series_id,
        min(first_time),
        max(last_time),
        min(minimum),
        max(maximum),
        (array_agg(first_value order by first_time))[1],
        (array_agg(last_value order by first_time))[count(*)],
        sum(sum_value),
        sum(sample_count)::bigint
    from unnest(minutes)
    group by 1, 2
    order by 2, 1
    on conflict (series_id, bucket) do update set
        first_value
        = case when excluded.first_time < kept.first_time then excluded.first_value else kept.first_value end,
        last_value = case when excluded.last_time > kept.last_time then excluded.last_value else kept.last_value end,
        first_time = least(kept.first_time, excluded.first_time),
        last_time = greatest(kept.last_time, excluded.last_time),
        minimum = least(kept.minimum, excluded.minimum),
        maximum = greatest(kept.maximum, excluded.maximum),
        sum_value = kept.sum_value + excluded.sum_value,
        sample_count = kept.sample_count + excluded.sample_count;

    insert into telemetry.rollup_1d as kept
    select
        date_bin(interval '1 day', bucket, timestamptz '2000-01-01 00:00:00+00'),
        series_id,
        min(first_time),
        max(last_time),
        min(minimum),
        max(maximum),
        (array_agg(first_value order by first_time))[1],
        (array_agg(last_value order by first_time))[count(*)],
        sum(sum_value),
        sum(sample_count)::bigint
    from unnest(minutes)
    group by 1, 2
    order by 2, 1
    on conflict (series_id, bucket) do update set
        first_value
        = case when excluded.first_time < kept.first_time then excluded.first_value else kept.first_value end,
        last_value = case when excluded.last_time > kept.last_time then excluded.last_value else kept.last_value end,
        first_time = least(kept.first_time, excluded.first_time),
        last_time = greatest(kept.last_time, excluded.last_time),
        minimum = least(kept.minimum, excluded.minimum),
        maximum = greatest(kept.maximum, excluded.maximum),
        sum_value = kept.sum_value + excluded.sum_value,
        sample_count = kept.sample_count + excluded.sample_count;

    return null;
end
$$;

comment on function telemetry.roll_up() is
'Trigger function: adds the readings of one insert to rollup_1m, rollup_1h and rollup_1d, exactly, whatever their age.';

create or replace trigger reading_roll_up
after insert on telemetry.reading
referencing new table as new_rows
for each statement execute function telemetry.roll_up();

comment on trigger reading_roll_up on telemetry.reading is
'Keeps reading_1m, reading_1h and reading_1d exact; deleting readings leaves them as they were.';

create or replace view telemetry.reading_1m as
select
    bucket,
    series_id,
    sum_value / sample_count as mean,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
from telemetry.rollup_1m;

create or replace view telemetry.reading_1h as
select
    bucket,
    series_id,
    sum_value / sample_count as mean,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
from telemetry.rollup_1h;

create or replace view telemetry.reading_1d as
select
    bucket,
    series_id,
    sum_value / sample_count as mean,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
from telemetry.rollup_1d;

comment on schema telemetry_parts is 'Internal: telemetry.rollup_1m divided by series.';

do $$
declare
    level text;
    item record;
begin
    foreach level in array array['1m', '1h', '1d'] loop
        execute format(
            'comment on table telemetry.rollup_%s is %L',
            level, format('Internal: what reading_%s shows, kept by the trigger on telemetry.reading.', level)
        );
        for item in
            select *
            from (values
                ('bucket', 'Start of the window, in UTC.'),
                ('series_id', 'What was measured: a row of telemetry.series.'),
                ('first_time', 'When the first reading of the window was measured.'),
                ('last_time', 'When the last reading of the window was measured.'),
                ('minimum', 'Least value in the window.'),
                ('maximum', 'Greatest value in the window.'),
                ('first_value', 'Value of the earliest reading in the window.'),
                ('last_value', 'Value of the latest reading in the window.'),
                ('sum_value', 'Sum of the values in the window.'),
                ('sample_count', 'Number of readings in the window.')
            ) as columns (name, meaning)
        loop
            execute format('comment on column telemetry.rollup_%s.%I is %L', level, item.name, item.meaning);
        end loop;
    end loop;
end
$$;
