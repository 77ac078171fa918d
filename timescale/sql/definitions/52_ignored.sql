comment on table telemetry.ignored is
'One row per hour, source, topic and reason: messages and values that are no readings although nothing is wrong.';
comment on column telemetry.ignored.bucket is 'Start of the hour (UTC) in which the messages were written.';
comment on column telemetry.ignored.source is 'Source of the messages, as in telemetry.intake.';
comment on column telemetry.ignored.topic is
'Topic, shortened to its first six levels; # where more than 1,000 topics were ignored in the hour.';
comment on column telemetry.ignored.reason is 'Why, as one word, such as unmapped_text; docs/quarantine.md lists them.';
comment on column telemetry.ignored.messages is 'Messages without any reading; their sum is telemetry.intake.ignored.';
comment on column telemetry.ignored.value_count is 'Values of listed quantities, also in messages with other readings.';

create or replace function telemetry.purge_ignored(older_than interval default interval '90 days') returns bigint
language sql
set search_path = pg_catalog
as $$
    with gone as (
        delete from telemetry.ignored where bucket < now() - older_than
        returning 1
    )

    select count(*) from gone
$$;

comment on function telemetry.purge_ignored(interval) is
'Deletes rows of telemetry.ignored whose hour is older than older_than, returns how many.';
