create or replace view telemetry.accounting as
with intake_totals as (
    select
        coalesce(sum(messages), 0)::bigint as messages,
        coalesce(sum(decoded), 0)::bigint as decoded,
        coalesce(sum(ignored), 0)::bigint as ignored,
        coalesce(sum(quarantined_messages), 0)::bigint as quarantined_messages,
        coalesce(sum(readings), 0)::bigint as readings,
        coalesce(sum(stored), 0)::bigint as stored,
        coalesce(sum(duplicate), 0)::bigint as duplicate,
        coalesce(sum(replaced), 0)::bigint as replaced,
        coalesce(sum(quarantined_readings), 0)::bigint as quarantined_readings,
        coalesce(
            bool_and(
                messages = decoded + ignored + quarantined_messages
                and readings = stored + duplicate + replaced + quarantined_readings
            ),
            true
        ) as rows_balance
    from telemetry.intake
),

in_quarantine as (
    select
        coalesce(sum(repeats + 1) filter (where readings = 0), 0)::bigint as messages,
        coalesce(sum(readings), 0)::bigint as readings
    from telemetry.quarantine
),

held as (
    select
        in_quarantine.messages + purged.messages as messages,
        in_quarantine.readings + purged.readings as readings
    from in_quarantine
    cross join telemetry.quarantine_purged as purged
)

select
    intake_totals.messages,
    intake_totals.decoded,
    intake_totals.ignored,
    intake_totals.quarantined_messages,
    intake_totals.readings,
    intake_totals.stored,
    intake_totals.duplicate,
    intake_totals.replaced,
    intake_totals.quarantined_readings,
    held.messages as held_messages,
    held.readings as held_readings,
    intake_totals.rows_balance
    and intake_totals.quarantined_messages = held.messages
    and intake_totals.quarantined_readings = held.readings as balanced
from intake_totals
cross join held;

create or replace function telemetry.purge_quarantine(settled_for interval default interval '90 days') returns bigint
language sql
set search_path = pg_catalog
as $$
    with used as (
        delete from telemetry.quarantine_usage where day < current_date - 2
    ),

    deleted as (
        delete from telemetry.quarantine
        where
            coalesce(replayed_at, discarded_at) < now() - settled_for
            or greatest(quarantined_at, last_received_at) < now() - (
                select make_interval(days => retention.quarantine_days) from telemetry.retention
            )
        returning readings, repeats
    ),

    tally as (
        select
            count(*) as all_rows,
            coalesce(sum(repeats + 1) filter (where readings = 0), 0)::bigint as messages,
            coalesce(sum(readings), 0)::bigint as readings
        from deleted
    ),

    updated as (
        update telemetry.quarantine_purged as purged
        set messages = purged.messages + tally.messages, readings = purged.readings + tally.readings
        from tally
        where tally.all_rows > 0
    )

    select all_rows from tally
$$;

comment on table telemetry.quarantine is
'One row per message, or rejected part of one, that could not be decoded into readings; to be replayed or discarded.';
comment on column telemetry.quarantine.id is 'Number of the row, as `collector quarantine show` takes it.';
comment on column telemetry.quarantine.received_at is 'When the collector received the message.';
comment on column telemetry.quarantine.quarantined_at is 'When it was quarantined.';
comment on column telemetry.quarantine.source is 'Source of the message: mqtt, kafka, file, archive or replay.';
comment on column telemetry.quarantine.topic is 'Topic of the message; null if the source has none.';
comment on column telemetry.quarantine.payload is 'The message as received, byte by byte.';
comment on column telemetry.quarantine.retained is 'Whether it was a retained message of the broker.';
comment on column telemetry.quarantine.waited is
'How long it may have waited at the broker, if longer than COLLECTOR_ARRIVAL_LIMIT_SECONDS; else 0.';
comment on column telemetry.quarantine.file_options is
'For a row of a file, how the file was read, as JSON; a replay reads the row the same way.';
comment on column telemetry.quarantine.reason is 'Reason, as a code such as unknown_sensor.';
comment on column telemetry.quarantine.detail is 'Reason in detail, for people.';
comment on column telemetry.quarantine.readings is
'Number of readings of the message in this row; 0: the whole message could not be decoded.';
comment on column telemetry.quarantine.repeats is
'Further messages of the same hour, topic and detail, or further loads of the same row of a file, which have no '
'separate row; readings includes theirs.';
comment on column telemetry.quarantine.last_received_at is 'Arrival of the last of them; null: there is none.';
comment on column telemetry.quarantine.omitted_bytes is
'Size of the payloads of its messages, which are not kept: beyond the budget of their topic and day; null: it is kept.';
comment on column telemetry.quarantine.omitted_sha256 is
'SHA-256 of the last of these payloads, to find it in the archive.';
comment on column telemetry.quarantine.omitted_slot is
'Hash of the topic, 0 to 1023: topics with one hash share a budget.';
comment on column telemetry.quarantine.replayed_at is 'When it was replayed into readings; null: it was not.';
comment on column telemetry.quarantine.discarded_at is 'When it was discarded; null: it was not.';

comment on table telemetry.quarantine_usage is
'One row per day and hash of a topic: how much of its budget of payloads in quarantine is used.';
comment on column telemetry.quarantine_usage.day is 'Day (UTC) on which the messages arrived.';
comment on column telemetry.quarantine_usage.slot is 'Hash of the topic, 0 to 1023.';
comment on column telemetry.quarantine_usage.bytes is 'Size of topics and payloads, and 200 bytes per row.';

comment on table telemetry.quarantine_purged is
'One row: totals of the rows deleted from telemetry.quarantine, so that the accounts still balance.';
comment on column telemetry.quarantine_purged.messages is 'Deleted rows with a whole message.';
comment on column telemetry.quarantine_purged.readings is 'Readings in the other deleted rows.';
comment on column telemetry.quarantine_purged.only_row is 'Always true: there is one row.';

comment on table telemetry.intake is
'Accounting: one row per minute, source and collector, written in the same transaction as the readings.';
comment on column telemetry.intake.bucket is 'Start of the minute in which the messages were written.';
comment on column telemetry.intake.source is
'Source of the messages: mqtt, kafka, file, archive, or replay (of quarantined messages).';
comment on column telemetry.intake.collector is 'Name of the collector that received them.';
comment on column telemetry.intake.messages is 'Messages received: decoded + ignored + quarantined_messages.';
comment on column telemetry.intake.decoded is 'Messages with readings, stored or not.';
comment on column telemetry.intake.ignored is 'Messages that correctly contain no reading.';
comment on column telemetry.intake.quarantined_messages is 'Messages that could not be decoded at all.';
comment on column telemetry.intake.readings is
'Readings decoded: stored + duplicate + replaced + quarantined_readings.';
comment on column telemetry.intake.stored is 'Readings new in telemetry.reading.';
comment on column telemetry.intake.duplicate is 'Readings that were already stored with the same value.';
comment on column telemetry.intake.replaced is
'Readings that replaced another value for the same time; the replaced value is in telemetry.superseded.';
comment on column telemetry.intake.quarantined_readings is 'Readings quarantined in telemetry.quarantine.';

comment on view telemetry.accounting is 'One row: totals of telemetry.intake, and whether they balance.';
comment on column telemetry.accounting.messages is 'Messages received.';
comment on column telemetry.accounting.decoded is 'Messages with readings.';
comment on column telemetry.accounting.ignored is 'Messages that correctly contain no reading.';
comment on column telemetry.accounting.quarantined_messages is 'Messages that could not be decoded at all.';
comment on column telemetry.accounting.readings is 'Readings decoded.';
comment on column telemetry.accounting.stored is 'Readings new in telemetry.reading.';
comment on column telemetry.accounting.duplicate is 'Readings that were already stored with the same value.';
comment on column telemetry.accounting.replaced is
'Readings that replaced another value for the same time; the replaced value is in telemetry.superseded.';
comment on column telemetry.accounting.quarantined_readings is 'Readings quarantined, according to telemetry.intake.';
comment on column telemetry.accounting.held_messages is
'Whole messages in telemetry.quarantine, purged ones included.';
comment on column telemetry.accounting.held_readings is
'Readings held in telemetry.quarantine, purged ones included.';
comment on column telemetry.accounting.balanced is
'True if every row of telemetry.intake adds up and telemetry.quarantine contains what it counts.';

comment on function telemetry.purge_quarantine(interval) is
'Deletes rows settled longer than settled_for ago, or past the age limit; keeps their totals; returns their number.';
