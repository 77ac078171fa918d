-- The fill factor leaves free space on each page: the newest bucket of a series is updated with every batch, in place
-- while there is space.
create table telemetry.rollup_1m (
    bucket timestamptz not null,
    series_id integer not null,
    first_time timestamptz not null,
    last_time timestamptz not null,
    minimum double precision not null,
    maximum double precision not null,
    first_value double precision not null,
    last_value double precision not null,
    sum_value double precision not null,
    sample_count bigint not null,
    constraint rollup_1m_pkey primary key (series_id, bucket)
) with (fillfactor = 80);

create table telemetry.rollup_1h (
    like telemetry.rollup_1m,
    constraint rollup_1h_pkey primary key (series_id, bucket)
) with (fillfactor = 50);

create table telemetry.rollup_1d (
    like telemetry.rollup_1m,
    constraint rollup_1d_pkey primary key (series_id, bucket)
) with (fillfactor = 50);

create index rollup_1m_bucket_brin on telemetry.rollup_1m using brin (bucket)
with (pages_per_range = 32, autosummarize = on);
