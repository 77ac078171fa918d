-- The watermark has no public view; the views of the aggregates call the same two functions.
create or replace view telemetry.rollup_lag as
with newest as (
    select max(time) as time from telemetry.reading
)

select
    right(aggregate.user_view_name, 2) as level,
    greatest(
        extract(
            epoch from newest.time - _timescaledb_functions.to_timestamp(
                greatest(_timescaledb_functions.cagg_watermark(aggregate.mat_hypertable_id), 0)
            )
        ), 0
    )::double precision as lag_seconds
from _timescaledb_catalog.continuous_agg as aggregate
cross join newest
where aggregate.user_view_schema = 'telemetry';
