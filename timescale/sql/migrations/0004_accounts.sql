create table telemetry.quarantine (
    id bigint generated always as identity primary key,
    received_at timestamptz not null,
    quarantined_at timestamptz not null default now(),
    source text not null,
    topic text,
    payload bytea not null,
    retained boolean not null default false,
    reason text not null,
    detail text not null default '',
    readings integer not null check (readings >= 0),
    replayed_at timestamptz,
    discarded_at timestamptz
);

create index quarantine_open on telemetry.quarantine (reason, id)
where replayed_at is null and discarded_at is null;

-- For the rows of one message, which are replayed together.
create index quarantine_message on telemetry.quarantine (received_at)
where replayed_at is null and discarded_at is null;

create table telemetry.quarantine_purged (
    messages bigint not null default 0,
    readings bigint not null default 0,
    only_row boolean primary key default true check (only_row)
);

insert into telemetry.quarantine_purged default values;

create table telemetry.intake (
    bucket timestamptz not null,
    source text not null,
    collector text not null,
    messages bigint not null default 0,
    decoded bigint not null default 0,
    ignored bigint not null default 0,
    quarantined_messages bigint not null default 0,
    readings bigint not null default 0,
    stored bigint not null default 0,
    duplicate bigint not null default 0,
    quarantined_readings bigint not null default 0,
    primary key (bucket, source, collector),
    constraint intake_messages_balance check (messages = decoded + ignored + quarantined_messages),
    constraint intake_readings_balance check (readings = stored + duplicate + quarantined_readings)
);
