-- sum / count instead of avg: avg also computes the sum of squares, which overflows for values beyond 1e154.
create materialized view telemetry.reading_1m
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    public.time_bucket(interval '1 minute', time) as bucket,
    series_id,
    sum(value) / count(*) as mean,
    min(value) as minimum,
    max(value) as maximum,
    public.first(value, time) as first_value,
    public.last(value, time) as last_value,
    sum(value) as sum_value,
    count(*) as sample_count
from telemetry.reading
group by 1, 2
with no data;

create materialized view telemetry.reading_1h
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    public.time_bucket(interval '1 hour', bucket) as bucket,
    series_id,
    sum(sum_value) / sum(sample_count)::double precision as mean,
    min(minimum) as minimum,
    max(maximum) as maximum,
    public.first(first_value, bucket) as first_value,
    public.last(last_value, bucket) as last_value,
    sum(sum_value) as sum_value,
    sum(sample_count)::bigint as sample_count
from telemetry.reading_1m
group by 1, 2
with no data;

create materialized view telemetry.reading_1d
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    public.time_bucket(interval '1 day', bucket) as bucket,
    series_id,
    sum(sum_value) / sum(sample_count)::double precision as mean,
    min(minimum) as minimum,
    max(maximum) as maximum,
    public.first(first_value, bucket) as first_value,
    public.last(last_value, bucket) as last_value,
    sum(sum_value) as sum_value,
    sum(sample_count)::bigint as sample_count
from telemetry.reading_1h
group by 1, 2
with no data;
