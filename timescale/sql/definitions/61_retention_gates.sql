-- docs/decisions/0016-gated-retention.md says why each gate is as it is.

-- Messages of a day that the archive lacks, by count. The collector writes a message a moment after the archiver has
-- got it, so the first and the last minute of its day do not count; what came again to the collector alone (it was
-- stored and not yet acknowledged) is a duplicate. Where either was away over midnight, its messages are with the next
-- day: so a day also passes together with a neighbour.
create or replace function telemetry.archive_lacks(days date[])
returns table (day date, messages bigint)
language sql
stable
set search_path = pg_catalog
as $$
    with around as (
        select distinct wanted.day + shift.days as day
        from unnest(days) as wanted (day)
        cross join generate_series(-1, 1) as shift (days)
    ),

    bounds as (
        select
            around.day,
            around.day::timestamp at time zone 'UTC' as begins,
            (around.day + 1)::timestamp at time zone 'UTC' as ends
        from around
    ),

    counted as (
        select
            bounds.day,
            (
                select coalesce(sum(greatest(intake.decoded - intake.duplicate, 0)), 0)
                from telemetry.intake
                cross join telemetry.retention
                where
                    intake.bucket >= bounds.begins + interval '1 minute'
                    and intake.bucket < bounds.ends - interval '1 minute'
                    and intake.source = any(retention.archived_sources)
            )
            - (
                select coalesce(sum(archived.messages), 0)
                from telemetry.archived
                where archived.hour >= bounds.begins and archived.hour < bounds.ends
            ) as lacking
        from bounds
    ),

    least_lacking as (
        select
            counted.day,
            least(
                counted.lacking,
                counted.lacking + before.lacking,
                counted.lacking + later.lacking,
                before.lacking + counted.lacking + later.lacking
            )::bigint as messages
        from counted
        left join counted as before on counted.day - 1 = before.day
        left join counted as later on counted.day + 1 = later.day
    )

    select
        least_lacking.day,
        least_lacking.messages
    from least_lacking
    where least_lacking.day = any(days) and least_lacking.messages > 0
$$;

comment on function telemetry.archive_lacks(date[]) is
'Of days (UTC) by arrival, those of which messages that became readings are not in the archive, and how many.';

-- Each stretch is counted through: it is asked for those that are due alone, of which there are few.
create or replace function telemetry.retention_gate(to_first_held boolean default false)
returns table (
    begins timestamptz,
    ends timestamptz,
    readings bigint,
    changed_at timestamptz,
    waits_for text[]
)
language plpgsql
stable
set search_path = pg_catalog
as $$
declare
    kept constant telemetry.retention := (select retention from telemetry.retention);
    arrived date[];
    newest timestamptz;
    minutes bigint;
    hours bigint;
    days bigint;
begin
    for begins, ends in
        select
            span.begins,
            span.ends
        from telemetry.reading_span as span
        where span.ends <= date_trunc('day', now() - make_interval(days => kept.keep_days), 'UTC') - interval '1 day'
        order by span.begins
    loop
        waits_for := '{}';
        select
            coalesce(sum(by_day.number), 0),
            coalesce(array_agg(by_day.day order by by_day.day), '{}'),
            max(by_day.newest)
        into readings, arrived, newest
        from (
            select
                (reading.received_at at time zone 'UTC')::date as day,
                count(*) as number,
                max(reading.time) as newest
            from telemetry.reading
            where reading.time >= begins and reading.time < ends
            group by 1
        ) as by_day;

        -- Collectors write what is up to three hours late without a note.
        select greatest(ends + threshold.closed_after, max(late.noted_at) + interval '1 minute')
        into changed_at
        from telemetry.threshold
        left join telemetry.late_hour as late on late.bucket >= begins and late.bucket < ends
        group by threshold.closed_after;

        if readings > 0 and kept.archived_sources <> '{}' then
            select coalesce(
                array_agg(
                    format('archive: it lacks %s messages of %s', to_char(lacking.messages, 'FM999,999,999,999'), lacking.day)
                    order by lacking.day
                ),
                '{}'
            )
            into waits_for
            from telemetry.archive_lacks(arrived) as lacking;
        end if;

        select coalesce(sum(sample_count), 0) into minutes
        from telemetry.reading_1m where bucket >= begins and bucket < ends;
        select coalesce(sum(sample_count), 0) into hours
        from telemetry.reading_1h where bucket >= begins and bucket < ends;
        select coalesce(sum(sample_count), 0) into days
        from telemetry.reading_1d where bucket >= begins and bucket < ends;
        if (minutes, hours, days) is distinct from (readings, readings, readings) then
            waits_for := waits_for || format(
                'means: of %s readings, minutes have %s, hours %s, days %s', readings, minutes, hours, days
            );
        elsif newest >= telemetry.means_stored_until() then
            waits_for := waits_for || format('means: stored up to %s only', telemetry.means_stored_until());
        end if;

        if
            readings > 0 and kept.scanned
            and not exists (
                select from quality.check_result as result
                where
                    result.dataset = 'telemetry.reading'
                    and result.checked_at > changed_at
                    and result.outcome in ('passed', 'failed', 'warned')
            )
        then
            waits_for := waits_for || format(
                'scan: none since %s', to_char(changed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI"Z"')
            );
        end if;
        return next;
        exit when to_first_held and waits_for <> '{}';
    end loop;
end
$$;

comment on function telemetry.retention_gate(boolean) is
'One row a chunk (without TimescaleDB: a day) of raw readings older than they are to be kept, and what it waits for.';

create or replace function telemetry.droppable_before() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$
    select least(
        date_trunc('day', now() - make_interval(days => retention.keep_days), 'UTC') - interval '1 day',
        (select min(gate.begins) from telemetry.retention_gate(true) as gate where gate.waits_for <> '{}')
    )
    from telemetry.retention
    where retention.keep_days is not null
$$;

comment on function telemetry.droppable_before() is
'Raw readings before this instant may go: nothing that is as old waits for anything; null: they are kept for ever.';

comment on view telemetry.reading_span is
'One row a stretch of raw readings that is dropped as a whole: a chunk, or without TimescaleDB a day.';
comment on column telemetry.reading_span.begins is 'Its first instant.';
comment on column telemetry.reading_span.ends is 'The first instant after it.';

comment on function telemetry.means_stored_until() is
'Up to where minutes, hours and days are stored, rather than figured from raw readings when they are asked for.';

create or replace view telemetry.retention_overdue as
select
    case
        when retention.keep_days is null then 0
        else coalesce(greatest(extract(epoch from (
            date_trunc('day', now() - make_interval(days => retention.keep_days), 'UTC') - interval '1 day'
            - (select min(span.ends) from telemetry.reading_span as span)
        )), 0), 0)
    end::double precision as overdue_seconds
from telemetry.retention;

comment on view telemetry.retention_overdue is 'One row: whether raw readings are there that should have gone.';
comment on column telemetry.retention_overdue.overdue_seconds is
'For how long the oldest chunk (without TimescaleDB: day) of raw readings could have gone by its age; 0: none could.';
