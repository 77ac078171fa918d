create table telemetry.sensor (
    sensor_id text primary key,
    type text not null,
    site text not null,
    area text not null,
    latitude double precision check (latitude between -90 and 90),
    longitude double precision check (longitude between -180 and 180),
    topic text not null,
    timezone text,
    since timestamptz not null,
    description text not null default '',
    registered_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    retired_at timestamptz
);

create table telemetry.series (
    series_id integer generated always as identity primary key,
    sensor_id text not null references telemetry.sensor (sensor_id),
    quantity text not null,
    unit text not null,
    minimum double precision,
    maximum double precision,
    interval_seconds double precision not null check (interval_seconds > 0),
    kind text not null default 'number' check (kind in ('number', 'boolean')),
    registered_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    retired_at timestamptz,
    unique (sensor_id, quantity)
);
