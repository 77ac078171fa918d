-- The conditions for dropping raw readings (docs/decisions/0016-gated-retention.md).
alter table telemetry.retention
add column archived_sources text[] not null default '{mqtt}',
add column scanned boolean not null default true;

create table telemetry.archived (
    hour timestamptz not null,
    messages bigint not null check (messages >= 0),
    files integer not null check (files >= 0),
    size_bytes bigint not null check (size_bytes >= 0),
    verified_at timestamptz not null,
    constraint archived_pkey primary key (hour)
);
