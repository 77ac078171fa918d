-- Where a format publishes state, the later publish of an instant replaces the value of the earlier one.
alter table telemetry.intake add column replaced bigint not null default 0;

alter table telemetry.intake drop constraint intake_readings_balance;

alter table telemetry.intake
add constraint intake_readings_balance check (readings = stored + duplicate + replaced + quarantined_readings);

-- The definitions create it again, with the new column.
drop view if exists telemetry.accounting;

create table telemetry.superseded (
    series_id integer not null,
    time timestamptz not null,
    value double precision not null,
    replaced_by double precision not null,
    source text,
    received_at timestamptz not null,
    replaced_at timestamptz not null default now(),
    constraint superseded_pkey primary key (series_id, time, value)
);
