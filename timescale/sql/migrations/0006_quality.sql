create schema quality;

create table quality.check_result (
    id bigint generated always as identity primary key,
    scan_id uuid not null,
    checked_at timestamptz not null,
    contract text not null,
    dataset text not null,
    column_name text,
    check_name text not null,
    check_type text not null,
    outcome text not null,
    measured_value double precision,
    threshold text,
    sensor_id text,
    series_id integer,
    duration_seconds double precision
);

create index check_result_scan on quality.check_result (scan_id);
create index check_result_checked_at on quality.check_result (checked_at);
