create or replace view telemetry.reading_span as
select distinct
    rollup_1d.bucket as begins,
    rollup_1d.bucket + interval '24 hours' as ends
from telemetry.rollup_1d
cross join telemetry.retention
where retention.dropped_before is null or rollup_1d.bucket >= retention.dropped_before;

create or replace function telemetry.means_stored_until() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$ select timestamptz 'infinity' $$;

create or replace procedure telemetry.apply_retention()
language plpgsql
set search_path = pg_catalog
as $$
declare
    drop_before timestamptz;
begin
    perform from telemetry.retention for update;
    drop_before := telemetry.droppable_before();
    if drop_before is null then
        return;
    end if;
    update telemetry.retention set dropped_before = greatest(dropped_before, drop_before);
    delete from telemetry.reading where time < drop_before;
    delete from telemetry.superseded where time < drop_before;
end
$$;

comment on procedure telemetry.apply_retention is
'Deletes raw readings that may be dropped (telemetry.retention_gate); the means stay. No job calls it.';
