-- A chunk before dropped_before has readings that were stored after their chunk was dropped, other than by a collector.
create or replace view telemetry.reading_span as
select
    chunks.range_start as begins,
    chunks.range_end as ends,
    coalesce(chunks.range_end <= retention.dropped_before, false) as is_dropped
from timescaledb_information.chunks
cross join telemetry.retention
where chunks.hypertable_schema = 'telemetry' and chunks.hypertable_name = 'reading';

-- The watermark has no public view; the views of the aggregates call the same two functions.
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

-- The lock of refresh and retention, which take several transactions: held by a session, and free when that has ended.
create or replace procedure telemetry.lock_rollups()
language plpgsql
as $$
declare
    give_up_at constant timestamptz := pg_catalog.clock_timestamp() + interval '10 minutes';
begin
    loop
        update telemetry.lock set
            holder = pg_catalog.pg_backend_pid(),
            holder_started = (
                select session.backend_start
                from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) as session
            )
        where
            lock.name = 'rollups'
            and (
                lock.holder is null or lock.holder = pg_catalog.pg_backend_pid()
                -- The start of another role's session may not be visible.
                or not exists (
                    select from pg_catalog.pg_stat_get_activity(lock.holder) as session
                    where session.backend_start is null or session.backend_start = lock.holder_started
                )
            );
        exit when found;
        if pg_catalog.clock_timestamp() > give_up_at then
            raise lock_not_available using message = 'another session has refreshed the means for 10 minutes';
        end if;
        commit;
        perform pg_catalog.pg_sleep(0.1);
    end loop;
    commit;
end
$$;

comment on procedure telemetry.lock_rollups is
'Waits until no other session refreshes means or drops readings, and keeps others from it; see telemetry.lock.';

create or replace procedure telemetry.unlock_rollups()
language sql
set search_path = pg_catalog
as $$
    update telemetry.lock set holder = null, holder_started = null
    where name = 'rollups' and holder = pg_backend_pid()
$$;

comment on procedure telemetry.unlock_rollups is 'Ends telemetry.lock_rollups.';

-- Dropping a chunk marks its time range as changed. A refresh of that range would find no raw readings and delete the
-- means; therefore the lowest level is refreshed only from dropped_before on, and both procedures take the same lock.
-- PostgreSQL does not allow a fixed search_path on procedures that commit: all names are qualified.
create or replace procedure telemetry.refresh_rollups(job_id integer default null, config jsonb default null)
language plpgsql
as $$
declare
    kept_from timestamptz;
    until timestamptz := pg_catalog.now() - coalesce(config ->> 'end_offset', '10 minutes')::interval;
begin
    call telemetry.lock_rollups();
    -- A refresh rewrites buckets whose chunk is in the columnstore: without a limit, not at most the default 100,000
    -- rows.
    perform pg_catalog.set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', false);
    -- A refresh takes two transactions. Before TimescaleDB 2.26.4, a refresh that was killed between them leaves a
    -- range on which every later refresh fails (pull request 9571 of TimescaleDB). Under this lock no other refresh
    -- runs, so a range found here is such a leftover: it is marked as changed again, and refreshed below.
    if
        pg_catalog.to_regclass('_timescaledb_catalog.continuous_aggs_jobs_refresh_ranges') is null
        and pg_catalog.has_table_privilege('_timescaledb_catalog.continuous_aggs_materialization_ranges', 'delete')
    then
        with leftover as (
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
        from leftover;
    end if;
    select retention.dropped_before into kept_from from telemetry.retention;
    commit;
    -- Each level is committed before the next: a refresh records its changes for the level above only at its commit,
    -- and inside a procedure the last part would stay uncommitted.
    call public.refresh_continuous_aggregate('telemetry.reading_1m', kept_from, until);
    commit;
    call public.refresh_continuous_aggregate('telemetry.reading_1h', null, until);
    commit;
    call public.refresh_continuous_aggregate('telemetry.reading_1d', null, until);
    commit;
    call telemetry.unlock_rollups();
    commit;
end
$$;

comment on procedure telemetry.refresh_rollups is
'Job: refreshes reading_1m, reading_1h and reading_1d, in this order, wherever readings have changed.';

-- Raises if the chunk has other readings than the gate has counted. Its lock waits for open transactions that write to
-- it and lets no other write until the chunk is dropped. Dropping and dropped_before are one transaction: the next
-- refresh begins after what was dropped.
create or replace procedure telemetry.drop_span(begins timestamptz, ends timestamptz, expected bigint)
language plpgsql
set search_path = pg_catalog
set lock_timeout = '10s'
as $$
declare
    chunk regclass;
    counted bigint;
begin
    select format('%I.%I', chunks.chunk_schema, chunks.chunk_name)::regclass
    into chunk
    from timescaledb_information.chunks
    where
        chunks.hypertable_schema = 'telemetry' and chunks.hypertable_name = 'reading'
        and chunks.range_start = begins and chunks.range_end = ends;
    execute format('lock table %s in access exclusive mode', chunk);
    execute format('select count(*) from %s', chunk) into counted;
    if counted <> expected then
        raise exception using
            message = format('of %s the gates saw %s readings, now there are %s', begins::date, expected, counted),
            errcode = 'serialization_failure';
    end if;
    perform public.drop_chunks('telemetry.reading', older_than => ends, newer_than => begins);
    delete from telemetry.superseded where time >= begins and time < ends;
    update telemetry.retention set
        dropped_before = greatest(dropped_before, ends),
        dropped_readings = dropped_readings + counted;
end
$$;

create or replace procedure telemetry.apply_retention(job_id integer default null, config jsonb default null)
language plpgsql
as $$
declare
    begins timestamptz[];
    ends timestamptz[];
    readings bigint[];
    is_complete boolean := true;
begin
    if (select retention.keep_days is null from telemetry.retention) then
        return;
    end if;
    call telemetry.refresh_rollups();
    call telemetry.lock_rollups();
    select
        pg_catalog.array_agg(gate.begins order by gate.begins),
        pg_catalog.array_agg(gate.ends order by gate.begins),
        pg_catalog.array_agg(gate.readings order by gate.begins)
    into begins, ends, readings
    from telemetry.retention_gate(true) as gate
    where gate.waits_for = '{}';
    commit;
    for span in 1..coalesce(pg_catalog.cardinality(begins), 0) loop
        begin
            call telemetry.drop_span(begins[span], ends[span], readings[span]);
        exception
            when serialization_failure or lock_not_available then
                raise warning '%; the next run checks these readings', sqlerrm;
                is_complete := false;
        end;
        commit;
        exit when not is_complete;
    end loop;
    if is_complete then
        call telemetry.close_empty_days();
    end if;
    commit;
    call telemetry.unlock_rollups();
    commit;
end
$$;

comment on procedure telemetry.apply_retention is
'Job: drops chunks of raw readings that may be dropped (telemetry.retention_gate); the means stay.';

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
'Job: deletes quarantine rows that were replayed or discarded 90 days ago, and old rows of telemetry.ignored.';

-- Jobs are added once: a schedule changed with alter_job stays.
do $$
declare
    missing_job record;
    job integer;
begin
    for missing_job in
        select *
        from (values
            ('refresh_rollups', interval '30 seconds', interval '30 seconds', '{"end_offset": "10 minutes"}'::jsonb),
            ('apply_retention', interval '1 hour', interval '10 minutes', null),
            ('purge_settled', interval '1 day', interval '1 hour', '{"settled_for": "90 days"}'::jsonb)
        ) as jobs (name, run_every, retry_after, config)
        where not exists (
            select 1
            from timescaledb_information.jobs as existing
            where existing.proc_schema = 'telemetry' and existing.proc_name = jobs.name
        )
    loop
        job := public.add_job(format('telemetry.%I', missing_job.name)::regproc, missing_job.run_every, config => missing_job.config);
        perform public.alter_job(job, retry_period => missing_job.retry_after);
    end loop;
end
$$;
