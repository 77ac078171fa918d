create or replace view telemetry.reading_span as
select
    chunks.range_start as begins,
    chunks.range_end as ends
from timescaledb_information.chunks
cross join telemetry.retention
where
    chunks.hypertable_schema = 'telemetry' and chunks.hypertable_name = 'reading'
    and (retention.dropped_before is null or chunks.range_end > retention.dropped_before);

-- The watermark has no public view; these two functions are the ones that the aggregates' own views call.
create or replace function telemetry.means_stored_until() returns timestamptz
language sql
stable
set search_path = pg_catalog
as $$
    select min(
        _timescaledb_functions.to_timestamp(
            greatest(_timescaledb_functions.cagg_watermark(mat_hypertable_id), 0)
        )
    )
    from _timescaledb_catalog.continuous_agg
    where user_view_schema = 'telemetry'
$$;

-- Dropping a chunk marks its time as changed. A refresh that reached back there would find no raw readings and erase
-- the means; that is why the lowest level is refreshed only from dropped_before on, and both procedures hold one lock.
-- Procedures that commit can't have a search_path of their own (PostgreSQL forbids it): all names are qualified.
create or replace procedure telemetry.refresh_rollups(job_id integer default null, config jsonb default null)
language plpgsql
as $$
declare
    lock_key constant bigint := 7233911046158837;
    kept_from timestamptz;
    until timestamptz := pg_catalog.now() - coalesce(config ->> 'end_offset', '10 minutes')::interval;
begin
    perform pg_catalog.pg_advisory_lock(lock_key);
    -- A refresh rewrites buckets whose chunk is in the columnstore: as many rows as it takes, not the default 100,000.
    perform pg_catalog.set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false);
    -- A refresh takes two transactions. Before TimescaleDB 2.26.4, one that was killed between them leaves a range that
    -- makes every later refresh over it fail (its pull request 9571). Under our lock nobody else refreshes, so what is
    -- there is such a rest: it is written back as changed, and refreshed below.
    if
        pg_catalog.to_regclass('_timescaledb_catalog.continuous_aggs_jobs_refresh_ranges') is null
        and pg_catalog.has_table_privilege('_timescaledb_catalog.continuous_aggs_materialization_ranges', 'delete')
    then
        with half_done as (
            delete from _timescaledb_catalog.continuous_aggs_materialization_ranges
            where materialization_id in (
                select mat_hypertable_id
                from _timescaledb_catalog.continuous_agg
                where user_view_schema = 'telemetry'
            )
            returning materialization_id, lowest_modified_value, greatest_modified_value
        )

        insert into _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
        (materialization_id, lowest_modified_value, greatest_modified_value)
        select
            materialization_id,
            lowest_modified_value,
            greatest_modified_value
        from half_done;
    end if;
    select retention.dropped_before into kept_from from telemetry.retention;
    commit;
    -- Each level is committed before the next: what a refresh has changed is written down for the level above only at
    -- its commit, and inside a procedure its last part would stay open.
    call public.refresh_continuous_aggregate('telemetry.reading_1m', kept_from, until);
    commit;
    call public.refresh_continuous_aggregate('telemetry.reading_1h', null, until);
    commit;
    call public.refresh_continuous_aggregate('telemetry.reading_1d', null, until);
    commit;
    perform pg_catalog.pg_advisory_unlock(lock_key);
end
$$;

comment on procedure telemetry.refresh_rollups is
'Job: brings reading_1m, reading_1h and reading_1d, in this order, up to date wherever readings have changed.';

create or replace procedure telemetry.apply_retention(job_id integer default null, config jsonb default null)
language plpgsql
as $$
declare
    lock_key constant bigint := 7233911046158837;
    drop_before timestamptz;
begin
    if (select retention.keep_days is null from telemetry.retention) then
        return;
    end if;
    call telemetry.refresh_rollups();
    perform pg_catalog.pg_advisory_lock(lock_key);
    drop_before := telemetry.droppable_before();
    update telemetry.retention set dropped_before = greatest(dropped_before, drop_before);
    commit;
    perform public.drop_chunks('telemetry.reading', older_than => drop_before);
    delete from telemetry.superseded where time < drop_before;
    commit;
    perform pg_catalog.pg_advisory_unlock(lock_key);
end
$$;

comment on procedure telemetry.apply_retention is
'Job: drops chunks of raw readings that may go (telemetry.retention_gate); the means over them stay.';

create or replace procedure telemetry.purge_settled(job_id integer default null, config jsonb default null)
language plpgsql
set search_path = pg_catalog
as $$
begin
    perform telemetry.purge_quarantine(coalesce(config ->> 'settled_for', '90 days')::interval);
    perform telemetry.purge_ignored();
end
$$;

comment on procedure telemetry.purge_settled is
'Job: deletes quarantine rows that were settled 90 days ago, and rows of telemetry.ignored of that age.';

-- Added once: who alters a schedule with alter_job keeps it.
do $$
declare
    wanted record;
    job integer;
begin
    for wanted in
        select *
        from (values
            ('refresh_rollups', interval '30 seconds', interval '30 seconds', '{"end_offset": "10 minutes"}'::jsonb),
            ('apply_retention', interval '1 hour', interval '10 minutes', null),
            ('purge_settled', interval '1 day', interval '1 hour', '{"settled_for": "90 days"}'::jsonb)
        ) as jobs (name, every, retry_after, config)
        where not exists (
            select 1
            from timescaledb_information.jobs as existing
            where existing.proc_schema = 'telemetry' and existing.proc_name = jobs.name
        )
    loop
        job := public.add_job(format('telemetry.%I', wanted.name)::regproc, wanted.every, config => wanted.config);
        perform public.alter_job(job, retry_period => wanted.retry_after);
    end loop;
end
$$;
