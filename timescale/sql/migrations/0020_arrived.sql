-- Messages that became readings, and those in the archive, counted by a hash of their content
-- (docs/decisions/0016-gated-retention.md).
create table telemetry.arrived (
    hour timestamptz not null,
    source text not null,
    collector text not null,
    slot smallint not null,
    messages bigint not null check (messages > 0),
    constraint arrived_pkey primary key (hour, source, collector, slot)
) with (fillfactor = 80);

alter table telemetry.archived add column slots bigint[];
