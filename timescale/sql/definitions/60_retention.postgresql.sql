create or replace procedure telemetry.apply_retention()
language plpgsql
set search_path = pg_catalog
as $$
declare
    drop_before timestamptz;
begin
    select date_trunc('day', now() - make_interval(days => keep_days), 'UTC') - interval '1 day'
    into drop_before
    from telemetry.retention
    where keep_days is not null
    for update;

    if drop_before is null then
        return;
    end if;
    update telemetry.retention set dropped_before = greatest(dropped_before, drop_before);
    delete from telemetry.reading where time < drop_before;
end
$$;

comment on procedure telemetry.apply_retention is
'Deletes raw readings older than telemetry.retention.keep_days; the means over them stay. Nothing calls it by itself.';
