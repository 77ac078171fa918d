-- docs/decisions/0016-gated-retention.md explains each gate.

-- The number of messages of a day that the archive lacks. The collector writes a message a moment after the archiver
-- has received it, so the first and the last minute of the collector's day are not counted. Messages that only the
-- collector received again (stored, not yet acknowledged) are duplicates. If collector or archiver was down over
-- midnight, its messages are counted on the next day: therefore a day also passes together with a neighbouring day.
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
'The days (UTC of arrival) whose messages with readings are not all in the archive, and the missing number.';

-- All readings of each span are counted: the function looks only at spans that are old enough, of which there are few.
create or replace function telemetry.retention_gate(to_first_held boolean default false)
returns table (
    begins timestamptz,
    ends timestamptz,
    readings bigint,
    changed_at timestamptz,
    waits_for text[],
    is_dropped boolean
)
language plpgsql
stable
set search_path = pg_catalog
as $$
declare
    settings constant telemetry.retention := (select retention from telemetry.retention);
    arrived date[];
    newest timestamptz;
    minutes bigint;
    hours bigint;
    days bigint;
begin
    for begins, ends, is_dropped in
        select
            span.begins,
            span.ends,
            span.is_dropped
        from telemetry.reading_span as span
        where span.ends <= telemetry.expired_before() or span.is_dropped
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

        -- Readings that arrive before closed_after are not noted in telemetry.late_hour.
        select greatest(ends + threshold.closed_after, max(late.noted_at) + interval '1 minute')
        into changed_at
        from telemetry.threshold
        left join telemetry.late_hour as late on late.bucket >= begins and late.bucket < ends
        group by threshold.closed_after;

        -- Its means are final: no gate can open for these, and they block no other span.
        if is_dropped then
            waits_for := array['stored after its day was dropped: delete, or copy to another table'];
            return next;
            continue;
        end if;

        if readings > 0 and settings.archived_sources <> '{}' then
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
            readings > 0 and settings.scanned
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
'One row per chunk (without TimescaleDB: per day) of raw readings past their retention, and what it waits for.';

-- Spans without readings have no gate: dropped_before moves on to the first span that is left.
create or replace procedure telemetry.close_empty_days()
language sql
set search_path = pg_catalog
as $$
    update telemetry.retention
    set dropped_before = greatest(
        retention.dropped_before,
        least(
            telemetry.expired_before(),
            (select min(span.begins) from telemetry.reading_span as span where not span.is_dropped)
        )
    )
    where retention.keep_days is not null
$$;

comment on procedure telemetry.close_empty_days is
'Moves telemetry.retention.dropped_before on over expired days without raw readings.';

comment on procedure telemetry.drop_span is
'Drops the raw readings of a span that may be dropped, and counts them; fails if they are not as many as expected.';

comment on view telemetry.reading_span is
'One row per span of raw readings that is dropped as a whole: a chunk, or without TimescaleDB a day.';
comment on column telemetry.reading_span.begins is 'First time of the span.';
comment on column telemetry.reading_span.ends is 'First time after the span.';
comment on column telemetry.reading_span.is_dropped is
'Whether the span was dropped before: its readings were stored later, and are not in the means of all editions.';

comment on function telemetry.means_stored_until() is
'The time up to which minutes, hours and days are stored; later ones are computed from raw readings by each query.';

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

comment on view telemetry.retention_overdue is 'One row: whether raw readings exist that should have been dropped.';
comment on column telemetry.retention_overdue.overdue_seconds is
'Seconds since the oldest chunk (without TimescaleDB: day) of raw readings passed its retention; 0: none.';
