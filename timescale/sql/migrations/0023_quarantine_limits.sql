-- Payloads beyond a budget per topic and day are not kept, and open rows may have an age limit (docs/quarantine.md).
alter table telemetry.quarantine
add column omitted_bytes bigint check (omitted_bytes >= 0),
add column omitted_sha256 bytea,
add column omitted_slot smallint;

create index quarantine_omitted on telemetry.quarantine (omitted_slot, received_at)
where omitted_slot is not null and replayed_at is null and discarded_at is null;

create table telemetry.quarantine_usage (
    day date not null,
    slot smallint not null,
    bytes bigint not null check (bytes >= 0),
    constraint quarantine_usage_pkey primary key (day, slot)
) with (fillfactor = 50);

alter table telemetry.retention add column quarantine_days integer check (quarantine_days >= 1);
