-- Ignored messages and values, by hour, source, topic and reason (docs/quarantine.md).
create table telemetry.ignored (
    bucket timestamptz not null,
    source text not null,
    topic text not null,
    reason text not null,
    messages bigint not null default 0 check (messages >= 0),
    value_count bigint not null default 0 check (value_count >= 0),
    constraint ignored_pkey primary key (bucket, source, topic, reason)
);
