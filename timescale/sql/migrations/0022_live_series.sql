-- Which series are live is a fact of their source. Up to now it was judged by the delay of their readings: those are
-- taken over, since a series that has stopped gets no further mark.
create table telemetry.live_series (
    series_id integer not null,
    last_arrived_at timestamptz not null,
    constraint live_series_pkey primary key (series_id)
);

insert into telemetry.live_series (series_id, last_arrived_at)
select
    series.series_id,
    timely.received_at
from telemetry.series
cross join
    lateral (
        select max(reading.time) as time
        from telemetry.reading
        where reading.series_id = series.series_id
    ) as newest
cross join lateral (
    select reading.received_at
    from telemetry.reading
    where
        reading.series_id = series.series_id
        and reading.time > newest.time - interval '1 day'
        and reading.received_at <= reading.time + greatest(300, 3 * series.interval_seconds) * interval '1 second'
    order by reading.time desc
    limit 1
) as timely;
