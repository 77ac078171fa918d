create or replace view telemetry.accounting as
with taken as (
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

kept as (
    select
        count(*) filter (where readings = 0) as messages,
        coalesce(sum(readings), 0)::bigint as readings
    from telemetry.quarantine
),

held as (
    select
        kept.messages + purged.messages as messages,
        kept.readings + purged.readings as readings
    from kept
    cross join telemetry.quarantine_purged as purged
)

select
    taken.messages,
    taken.decoded,
    taken.ignored,
    taken.quarantined_messages,
    taken.readings,
    taken.stored,
    taken.duplicate,
    taken.replaced,
    taken.quarantined_readings,
    held.messages as held_messages,
    held.readings as held_readings,
    taken.rows_balance
    and taken.quarantined_messages = held.messages
    and taken.quarantined_readings = held.readings as balanced
from taken
cross join held;

create or replace function telemetry.purge_quarantine(settled_for interval default interval '90 days') returns bigint
language sql
set search_path = pg_catalog
as $$
    with gone as (
        delete from telemetry.quarantine
        where coalesce(replayed_at, discarded_at) < now() - settled_for
        returning readings
    ),

    tally as (
        select
            count(*) as all_rows,
            count(*) filter (where readings = 0) as messages,
            coalesce(sum(readings), 0)::bigint as readings
        from gone
    ),

    kept as (
        update telemetry.quarantine_purged as purged
        set messages = purged.messages + tally.messages, readings = purged.readings + tally.readings
        from tally
        where tally.all_rows > 0
    )

    select all_rows from tally
$$;

comment on table telemetry.quarantine is
'What could not become a reading, one row a message or rejected part of one; waits to be replayed or discarded.';
comment on column telemetry.quarantine.id is 'Number of the row, as `collector quarantine show` takes it.';
comment on column telemetry.quarantine.received_at is 'When the collector received the message.';
comment on column telemetry.quarantine.quarantined_at is 'When it was put here.';
comment on column telemetry.quarantine.source is 'The way it came: mqtt, file or replay.';
comment on column telemetry.quarantine.topic is 'Topic of the message; null where the source has none.';
comment on column telemetry.quarantine.payload is 'The message as it came, byte by byte.';
comment on column telemetry.quarantine.retained is 'Whether the broker had retained it from before.';
comment on column telemetry.quarantine.reason is 'Why: one word for a kind of mistake, such as unknown_sensor.';
comment on column telemetry.quarantine.detail is 'Why: what exactly is wrong, for people.';
comment on column telemetry.quarantine.readings is
'How many readings of the message this row holds back; 0: the whole message could not be decoded.';
comment on column telemetry.quarantine.repeats is
'Further messages of the same hour, topic and detail, which have no row of their own; readings includes theirs.';
comment on column telemetry.quarantine.last_received_at is 'Arrival of the last of them; null: there is none.';
comment on column telemetry.quarantine.replayed_at is 'When it was turned into readings after all; null: not.';
comment on column telemetry.quarantine.discarded_at is 'When somebody gave it up; null: not.';

comment on table telemetry.quarantine_purged is
'One row: what rows deleted from telemetry.quarantine held, so that the accounts still balance.';
comment on column telemetry.quarantine_purged.messages is 'Deleted rows that held a whole message.';
comment on column telemetry.quarantine_purged.readings is 'Readings that the other deleted rows held back.';
comment on column telemetry.quarantine_purged.only_row is 'Always true: there is one row.';

comment on table telemetry.intake is
'The accounts, one row a minute, source and collector; written in the transaction that stores what they count.';
comment on column telemetry.intake.bucket is 'Start of the minute in which the messages were written.';
comment on column telemetry.intake.source is 'The way they came: mqtt, file or replay (of what was in quarantine).';
comment on column telemetry.intake.collector is 'Which collector took them in.';
comment on column telemetry.intake.messages is 'Messages taken in: decoded + ignored + quarantined_messages.';
comment on column telemetry.intake.decoded is 'Messages that yielded readings, stored or not.';
comment on column telemetry.intake.ignored is 'Messages that rightly yield no reading.';
comment on column telemetry.intake.quarantined_messages is 'Messages that could not be decoded at all.';
comment on column telemetry.intake.readings is
'Readings decoded: stored + duplicate + replaced + quarantined_readings.';
comment on column telemetry.intake.stored is 'Readings new in telemetry.reading.';
comment on column telemetry.intake.duplicate is 'Readings that were there already with the same value.';
comment on column telemetry.intake.replaced is
'Readings of an instant that had another value: the later publish stands, the other is in telemetry.superseded.';
comment on column telemetry.intake.quarantined_readings is 'Readings held back in telemetry.quarantine.';

comment on view telemetry.accounting is 'One row: the totals of telemetry.intake, and whether they balance.';
comment on column telemetry.accounting.messages is 'Messages taken in.';
comment on column telemetry.accounting.decoded is 'Messages that yielded readings.';
comment on column telemetry.accounting.ignored is 'Messages that rightly yield no reading.';
comment on column telemetry.accounting.quarantined_messages is 'Messages that could not be decoded at all.';
comment on column telemetry.accounting.readings is 'Readings decoded.';
comment on column telemetry.accounting.stored is 'Readings new in telemetry.reading.';
comment on column telemetry.accounting.duplicate is 'Readings that were there already with the same value.';
comment on column telemetry.accounting.replaced is
'Readings of an instant that had another value: the later publish stands, the other is in telemetry.superseded.';
comment on column telemetry.accounting.quarantined_readings is 'Readings held back, by the accounts.';
comment on column telemetry.accounting.held_messages is 'Whole messages in telemetry.quarantine, purged ones included.';
comment on column telemetry.accounting.held_readings is 'Readings held in telemetry.quarantine, purged ones included.';
comment on column telemetry.accounting.balanced is
'True while every row of the accounts adds up and telemetry.quarantine holds what they say.';

comment on function telemetry.purge_quarantine(interval) is
'Deletes quarantine rows settled longer than settled_for ago, keeps their tally, returns how many.';
