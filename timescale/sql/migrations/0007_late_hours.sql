create table telemetry.late_hour (
    series_id integer not null,
    bucket timestamptz not null,
    noted_at timestamptz not null,
    constraint late_hour_pkey primary key (series_id, bucket)
);

create index late_hour_noted_at on telemetry.late_hour (noted_at);
