select public.create_hypertable(
    'telemetry.reading', public.by_range('time', interval '1 day'), create_default_indexes => false
);

alter table telemetry.reading set (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'series_id',
    timescaledb.orderby = 'time'
);

call public.add_columnstore_policy('telemetry.reading', after => interval '7 days');
