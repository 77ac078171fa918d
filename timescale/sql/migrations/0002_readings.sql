-- No foreign key to telemetry.series: it would cost a look-up per row on the hottest path, and the one writer takes
-- its series_id from that very table, whose rows are never deleted.
-- The bound on value keeps out NaN and the infinities, and lets no sum of any window overflow: one overflow would fail
-- every refresh of the aggregates, for all sensors.
create table telemetry.reading (
    time timestamptz not null,
    series_id integer not null,
    value double precision not null,
    received_at timestamptz not null,
    constraint reading_pkey primary key (series_id, time),
    constraint reading_value_finite check (value > -1e290 and value < 1e290)
);
