create or replace function telemetry.expired_before() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$
    select date_trunc('day', now() - make_interval(days => retention.keep_days), 'UTC') - interval '1 day'
    from telemetry.retention
$$;

comment on function telemetry.expired_before() is
'Raw readings before this time are older than their retention; null: they are kept without limit.';

-- One day lies between the oldest accepted and the newest dropped readings, so that the refresh has processed every
-- accepted reading before its chunk is dropped, even if a collector asked just before midnight or the refresh did not
-- run for hours. Collectors ask in the transaction that stores readings: what they accept is before the gates.
create or replace function telemetry.oldest_accepted() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$
    select greatest(telemetry.expired_before(), retention.dropped_before) + interval '1 day'
    from telemetry.retention
$$;

comment on function telemetry.oldest_accepted() is
'No reading before this time may be stored: its bucket has been dropped or will be; null: no limit.';

comment on table telemetry.retention is
'One row: how long raw readings are kept, the conditions for dropping them, and the oldest ones left.';
comment on column telemetry.retention.keep_days is
'Days for which raw readings are kept at least; null: without limit.';
comment on column telemetry.retention.dropped_before is
'Raw readings before this time have been dropped, and their means are final; null: none have.';
comment on column telemetry.retention.dropped_readings is
'Number of raw readings dropped so far: quality.stored_readings compares it with the accounts.';
comment on column telemetry.retention.archived_sources is
'Sources of telemetry.intake whose messages must be in the archive before raw readings of these days are dropped.';
comment on column telemetry.retention.scanned is 'Whether a quality scan must have run after the last change.';
comment on column telemetry.retention.quarantine_days is
'Days after which open rows of the quarantine are deleted; null: they are kept until they are settled.';
comment on column telemetry.retention.only_row is 'Always true: there is one row.';

comment on table telemetry.archived is
'One row per hour: content of the archive, as read completely by `collector archive verify --record`.';
comment on column telemetry.archived.hour is 'Start of the hour (UTC) in which the messages arrived at the archiver.';
comment on column telemetry.archived.messages is
'Messages in the finished files; 0: a file cannot be read or is missing.';
comment on column telemetry.archived.files is 'Number of files.';
comment on column telemetry.archived.size_bytes is 'Size of the files.';
comment on column telemetry.archived.verified_at is 'When they were read.';
comment on column telemetry.archived.slots is
'Messages by the hash that telemetry.arrived counts by; null: read by an earlier version.';

comment on table telemetry.arrived is
'One row per hour, source, collector and slot: messages that became readings, to be compared with the archive.';
comment on column telemetry.arrived.hour is 'Start of the hour (UTC) in which the messages arrived at the collector.';
comment on column telemetry.arrived.source is 'Source of the messages, as in telemetry.intake.';
comment on column telemetry.arrived.collector is 'Name of the collector that received them.';
comment on column telemetry.arrived.slot is 'Hash of topic and payload, 0 to 63.';
comment on column telemetry.arrived.messages is
'Messages of which a reading was stored or replaced another; without those that the broker had sent or stored before.';
