create table telemetry.birth (
    topic text not null,
    received_at timestamptz not null,
    payload bytea not null,
    constraint birth_pkey primary key (topic)
);
