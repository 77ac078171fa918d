create or replace view quality.series_out_of_range as
select
    newest.series_id,
    newest.sensor_id,
    newest.quantity,
    recent.share as measured_value,
    'at most 0.05 of the readings of ' || recent.seconds || ' s outside '
    || coalesce(newest.minimum::text, '-∞') || ' … ' || coalesce(newest.maximum::text, '∞') as threshold,
    case when newest.minimum is not null or newest.maximum is not null then recent.share > 0.05 end as failed,
    case
        when newest.minimum is null and newest.maximum is null then 'the registry gives no range'
        when recent.share is null then 'no recent reading'
    end as reason
from (
    select
        *,
        greatest(1800, 6 * interval_seconds) as window_seconds
    from quality.series_newest
) as newest
cross join lateral (
    select
        newest.window_seconds as seconds,
        count(*) filter (where reading.value < newest.minimum or reading.value > newest.maximum)
        / nullif(count(*), 0)::double precision as share
    from telemetry.reading
    where
        reading.series_id = newest.series_id
        and reading.time > now() - newest.window_seconds * interval '1 second'
) as recent;

comment on view quality.series_out_of_range is
'One row per series in service: the share of its latest readings outside the plausible range.';
