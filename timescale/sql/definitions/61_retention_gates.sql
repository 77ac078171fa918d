-- docs/decisions/0016-gated-retention.md explains each gate.

-- The number of messages of a day that the archive lacks: messages that became readings are compared with archived
-- messages, slot by slot (telemetry.arrived). Days are compared alone, where they pass together with a neighbouring day
-- with it (messages around midnight), and as one where an outage of collector or archiver moved messages to a later
-- day. An outage is a run of hours in which one of them got messages and the other none; its messages may follow for as
-- long again, at least two hours. Days before the collector counted by slots are compared by decoded messages.
create or replace function telemetry.archive_lacks(days date[])
returns table (day date, messages bigint)
language sql
stable
set search_path = pg_catalog
as $$
    with bounds as (
        select
            (select min(wanted.day) - 32 from unnest(days) as wanted (day)) as first_day,
            (select max(wanted.day) + 32 from unnest(days) as wanted (day)) as last_day,
            (select max(archived.hour) + interval '1 hour' from telemetry.archived) as verified_until,
            (
                select
                    case
                        when min(arrived.hour) is null then date 'infinity'
                        when
                            min(arrived.hour) <= date_trunc('hour', (select min(intake.bucket) from telemetry.intake), 'UTC')
                            then date '-infinity'
                        else (min(arrived.hour) at time zone 'UTC')::date + 1
                    end
                from telemetry.arrived
            ) as slots_from,
            retention.archived_sources
        from telemetry.retention
    ),

    calendar as (
        select
            bounds.first_day + number as day,
            (bounds.first_day + number)::timestamp at time zone 'UTC' as begins
        from bounds
        cross join generate_series(0, bounds.last_day - bounds.first_day) as number
    ),

    collected_hour as (
        select
            date_trunc('hour', intake.bucket, 'UTC') as hour,
            sum(intake.messages) as messages,
            sum(intake.decoded) as decoded
        from telemetry.intake
        cross join bounds
        where
            intake.source = any(bounds.archived_sources)
            and intake.bucket >= bounds.first_day::timestamp at time zone 'UTC'
            and intake.bucket < (bounds.last_day + 1)::timestamp at time zone 'UTC'
        group by 1
    ),

    archived_hour as (
        select
            archived.hour,
            archived.messages,
            archived.slots
        from telemetry.archived
        cross join bounds
        where
            archived.hour >= bounds.first_day::timestamp at time zone 'UTC'
            and archived.hour < (bounds.last_day + 1)::timestamp at time zone 'UTC'
    ),

    one_sided as (
        select
            hour,
            hour - row_number() over (order by hour) * interval '1 hour' as run
        from collected_hour
        full join archived_hour using (hour)
        cross join bounds
        where
            (coalesce(collected_hour.messages, 0) = 0) <> (coalesce(archived_hour.messages, 0) = 0)
            and hour < bounds.verified_until
    ),

    outage as (
        select
            min(hour) - interval '1 hour' as begins,
            max(hour) + interval '1 hour' + greatest(2, count(*)) * interval '1 hour' as ends
        from one_sided
        group by run
    ),

    grouped as (
        select
            day,
            sum(begins_group::integer) over (order by day) as number
        from (
            select
                calendar.day,
                not exists (
                    select from outage where outage.begins < calendar.begins and outage.ends > calendar.begins
                ) as begins_group
            from calendar
        ) as marked
    ),

    counted as (
        select
            (arrived.hour at time zone 'UTC')::date as day,
            arrived.slot,
            arrived.messages
        from telemetry.arrived
        cross join bounds
        where
            arrived.source = any(bounds.archived_sources)
            and arrived.hour >= greatest(bounds.first_day, bounds.slots_from)::timestamp at time zone 'UTC'
            and arrived.hour < (bounds.last_day + 1)::timestamp at time zone 'UTC'
            and arrived.hour < greatest(bounds.verified_until, (bounds.last_day - 31)::timestamp at time zone 'UTC')
        union all
        select
            (collected_hour.hour at time zone 'UTC')::date,
            -1,
            collected_hour.decoded
        from collected_hour
        cross join bounds
        where
            (collected_hour.hour at time zone 'UTC')::date < bounds.slots_from
            and collected_hour.hour
            < greatest(bounds.verified_until, (bounds.last_day - 31)::timestamp at time zone 'UTC')
        union all
        select
            (archived_hour.hour at time zone 'UTC')::date,
            of_slot.number - 1,
            -of_slot.messages
        from archived_hour
        cross join bounds
        cross join lateral unnest(archived_hour.slots) with ordinality as of_slot (messages, number)
        where (archived_hour.hour at time zone 'UTC')::date >= bounds.slots_from
        union all
        select
            (archived_hour.hour at time zone 'UTC')::date,
            -1,
            -archived_hour.messages
        from archived_hour
        cross join bounds
        where (archived_hour.hour at time zone 'UTC')::date < bounds.slots_from
    ),

    lacking as (
        select
            every_group.number,
            every_slot.slot,
            coalesce(sum(by_group.messages), 0) as messages
        from (select distinct grouped.number from grouped) as every_group
        cross join (select distinct counted.slot from counted) as every_slot
        left join (
            select
                grouped.number,
                counted.slot,
                counted.messages
            from counted
            inner join grouped on counted.day = grouped.day
        ) as by_group
            on every_group.number = by_group.number and every_slot.slot = by_group.slot
        group by 1, 2
    ),

    least_lacking as (
        select
            number,
            slot,
            least(
                messages,
                messages + lag(messages, 1, 0::numeric) over by_number,
                messages + lead(messages, 1, 0::numeric) over by_number,
                lag(messages, 1, 0::numeric) over by_number + messages + lead(messages, 1, 0::numeric) over by_number
            ) as messages
        from lacking
        window by_number as (partition by slot order by number)
    ),

    totals as (
        select
            number,
            sum(messages)::bigint as messages
        from least_lacking
        where messages > 0
        group by number
    )

    select
        grouped.day,
        totals.messages
    from totals
    inner join grouped on totals.number = grouped.number
    where grouped.day = any(days)
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
    where retention.keep_days is not null;

    -- No reading that is kept arrived so long before.
    delete from telemetry.arrived
    using telemetry.retention
    where arrived.hour < retention.dropped_before - interval '32 days'
$$;

comment on procedure telemetry.close_empty_days is
'Moves telemetry.retention.dropped_before on over expired days without readings; deletes old rows of arrived.';

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
