create table quality.incident (
    id bigint generated always as identity primary key,
    key text not null,
    title text not null,
    check_name text,
    sensor_id text,
    measured_value text,
    threshold text,
    link text,
    opened_at timestamptz not null,
    last_seen_at timestamptz not null,
    closed_at timestamptz,
    told_at timestamptz,
    untold text[] not null default '{}',
    recovery_untold text[] not null default '{}'
);

create unique index incident_open on quality.incident (key) where closed_at is null;
create index incident_untold on quality.incident (id) where untold <> '{}' or recovery_untold <> '{}';
create index incident_last_seen_at on quality.incident (last_seen_at);

-- For the previous results of a check in `quality report`.
create index check_result_contract on quality.check_result (contract, checked_at);
