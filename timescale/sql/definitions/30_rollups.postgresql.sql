-- Every call writes the levels in the same order, and the keys of each level in order: concurrent writers wait for each
-- other but cannot deadlock. First and last values are looked up by their times in telemetry.reading: sorting all new
-- rows by time takes longer. Hours and days are computed from the new minutes, not from the new rows, at almost no
-- cost. The function runs with its owner's rights: roles that may insert readings may not change the means in any other
-- way.
create or replace function telemetry.roll_up() returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    minutes telemetry.rollup_1m[];
begin
    if tg_relid <> 'telemetry.reading'::regclass then
        raise insufficient_privilege using message = 'telemetry.roll_up is a trigger of telemetry.reading only';
    end if;
    select array_agg(row(new_minute.*)::telemetry.rollup_1m)
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
                    where reading.series_id = aggregated.series_id and reading.time = aggregated.first_time
                )
            end as first_value,
            case
                when sample_count = 1 then maximum
                else (
                    select value from telemetry.reading
                    where reading.series_id = aggregated.series_id and reading.time = aggregated.last_time
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
        ) as aggregated
        order by 2, 1
    ) as new_minute;

    insert into telemetry.rollup_1m as stored
    select * from unnest(minutes) as new_minute
    on conflict (series_id, bucket) do update set
        first_value
        = case when excluded.first_time < stored.first_time then excluded.first_value else stored.first_value end,
        last_value = case when excluded.last_time > stored.last_time then excluded.last_value else stored.last_value end,
        first_time = least(stored.first_time, excluded.first_time),
        last_time = greatest(stored.last_time, excluded.last_time),
        minimum = least(stored.minimum, excluded.minimum),
        maximum = greatest(stored.maximum, excluded.maximum),
        sum_value = stored.sum_value + excluded.sum_value,
        sample_count = stored.sample_count + excluded.sample_count;

    insert into telemetry.rollup_1h as stored
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
        = case when excluded.first_time < stored.first_time then excluded.first_value else stored.first_value end,
        last_value = case when excluded.last_time > stored.last_time then excluded.last_value else stored.last_value end,
        first_time = least(stored.first_time, excluded.first_time),
        last_time = greatest(stored.last_time, excluded.last_time),
        minimum = least(stored.minimum, excluded.minimum),
        maximum = greatest(stored.maximum, excluded.maximum),
        sum_value = stored.sum_value + excluded.sum_value,
        sample_count = stored.sample_count + excluded.sample_count;

    insert into telemetry.rollup_1d as stored
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
        = case when excluded.first_time < stored.first_time then excluded.first_value else stored.first_value end,
        last_value = case when excluded.last_time > stored.last_time then excluded.last_value else stored.last_value end,
        first_time = least(stored.first_time, excluded.first_time),
        last_time = greatest(stored.last_time, excluded.last_time),
        minimum = least(stored.minimum, excluded.minimum),
        maximum = greatest(stored.maximum, excluded.maximum),
        sum_value = stored.sum_value + excluded.sum_value,
        sample_count = stored.sample_count + excluded.sample_count;

    return null;
end
$$;

comment on function telemetry.roll_up() is
'Trigger function: adds the readings of one insert, of any age, to rollup_1m, rollup_1h and rollup_1d.';

create or replace trigger reading_roll_up
after insert on telemetry.reading
referencing new table as new_rows
for each statement execute function telemetry.roll_up();

comment on trigger reading_roll_up on telemetry.reading is
'Keeps reading_1m, reading_1h and reading_1d exact; deleting readings does not change them.';

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
            level, format('Internal: the rows behind reading_%s, maintained by the trigger on telemetry.reading.', level)
        );
        for item in
            select *
            from (values
                ('bucket', 'Start of the window, in UTC.'),
                ('series_id', 'The measured series: a row of telemetry.series.'),
                ('first_time', 'Time of the first reading of the window.'),
                ('last_time', 'Time of the last reading of the window.'),
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
