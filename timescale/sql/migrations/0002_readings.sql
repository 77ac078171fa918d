-- No foreign key to telemetry.series: it costs a look-up per row on the hottest path, and the only writer takes the
-- series_id from that table, whose rows are never deleted.
-- The bound on value rejects NaN and infinity and keeps the sum of any window from overflowing: one overflow would make
-- every refresh of the aggregates fail, for all sensors.
create table telemetry.reading (
    time timestamptz not null,
    series_id integer not null,
    value double precision not null,
    received_at timestamptz not null,
    constraint reading_pkey primary key (series_id, time),
    constraint reading_value_finite check (value > -1e290 and value < 1e290)
);
