-- Minutes are written in the order of time, so that a day of one series was spread over as many pages as it has
-- minutes. Partitioned by series, a page contains several minutes of each of its few series: with 200 series the day is
-- on a fifth of the pages. The partitions are in a separate schema, since users do not need them.
create schema telemetry_parts;

alter table telemetry.rollup_1m rename to rollup_1m_whole;
alter index telemetry.rollup_1m_pkey rename to rollup_1m_whole_pkey;
drop index telemetry.rollup_1m_bucket_brin;

create table telemetry.rollup_1m (
    like telemetry.rollup_1m_whole,
    constraint rollup_1m_pkey primary key (series_id, bucket)
) partition by hash (series_id);

do $$
begin
    for part in 0..15 loop
        execute format(
            'create table telemetry_parts.rollup_1m_%s partition of telemetry.rollup_1m '
            'for values with (modulus 16, remainder %s) with (fillfactor = 80)',
            part, part
        );
    end loop;
end
$$;

insert into telemetry.rollup_1m
select
    bucket,
    series_id,
    first_time,
    last_time,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
from telemetry.rollup_1m_whole;

create index rollup_1m_bucket_brin on telemetry.rollup_1m using brin (bucket)
with (pages_per_range = 32, autosummarize = on);

-- The view may read the old table, and other views may read the view.
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

drop table telemetry.rollup_1m_whole;
