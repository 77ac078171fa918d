select public.create_hypertable(
    'telemetry.reading', public.by_range('time', interval '1 day'), create_default_indexes => false
);

-- A b-tree, not BRIN: a refresh of reading_1h also asks for raw readings past the watermark of reading_1m. As a filter
-- the watermark is computed row by row, 30 microseconds each; as the condition of an ordered index it is computed once.
-- An hour of 900,000 readings took 65 s to refresh with BRIN and 2 s with this; inserts were as fast with either.
create index reading_time on telemetry.reading (time);

alter table telemetry.reading set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'series_id',
    timescaledb.orderby = 'time'
);

call public.add_columnstore_policy('telemetry.reading', after => interval '7 days');
