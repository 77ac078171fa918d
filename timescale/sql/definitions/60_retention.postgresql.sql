-- A day before dropped_before is listed where a series has readings there: other than by a collector they can be stored
-- after the day was dropped. Looking at each series' oldest reading finds them by the primary key.
create or replace view telemetry.reading_span as
select distinct
    rollup_1d.bucket as begins,
    rollup_1d.bucket + interval '24 hours' as ends,
    false as is_dropped
from telemetry.rollup_1d
cross join telemetry.retention
where retention.dropped_before is null or rollup_1d.bucket >= retention.dropped_before
union all
select distinct
    date_bin(interval '24 hours', oldest.time, timestamptz '2000-01-01 00:00:00+00') as begins,
    date_bin(interval '24 hours', oldest.time, timestamptz '2000-01-01 00:00:00+00') + interval '24 hours' as ends,
    true as is_dropped
from telemetry.retention
cross join telemetry.series
cross join lateral (
    select reading.time
    from telemetry.reading
    where reading.series_id = series.series_id and reading.time < retention.dropped_before
    order by reading.time
    limit 1
) as oldest;

create or replace function telemetry.means_stored_until() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$ select timestamptz 'infinity' $$;

-- Raises if the span has other readings than the gate has counted.
create or replace procedure telemetry.drop_span(begins timestamptz, ends timestamptz, expected bigint)
language plpgsql
set search_path = pg_catalog
as $$
declare
    deleted bigint;
begin
    delete from telemetry.reading where time >= begins and time < ends;
    get diagnostics deleted = row_count;
    if deleted <> expected then
        raise exception using
            message = format('of %s the gates saw %s readings, now there are %s', begins::date, expected, deleted),
            errcode = 'serialization_failure';
    end if;
    delete from telemetry.superseded where time >= begins and time < ends;
    update telemetry.retention set
        dropped_before = greatest(dropped_before, ends),
        dropped_readings = dropped_readings + deleted;
end
$$;

create or replace procedure telemetry.apply_retention()
language plpgsql
set search_path = pg_catalog
as $$
declare
    span record;
begin
    perform from telemetry.retention for update;
    for span in select * from telemetry.retention_gate(true) as gate where gate.waits_for = '{}' loop
        begin
            call telemetry.drop_span(span.begins, span.ends, span.readings);
        exception
            when serialization_failure then
                raise warning '%; the next run checks them', sqlerrm;
                return;
        end;
    end loop;
    call telemetry.close_empty_days();
end
$$;

comment on procedure telemetry.apply_retention is
'Deletes raw readings that may be dropped (telemetry.retention_gate); the means stay. No job calls it.';
