-- The roles of the product's logins and their privileges: docs/security.md has the same tables, and a test compares the
-- two. Roles belong to the whole server. A login without the right to create roles can still migrate: the database then
-- works for its owner only, and a later run with that right creates the roles.
do $$
declare
    role_names constant text[] := array[
        'collector_writer', 'transformer', 'quality_scanner', 'bi_reader', 'data_scientist', 'access_api', 'monitoring'
    ];
    missing_role text;
    granted record;
    owner record;
begin
    select
        rolsuper,
        rolsuper or rolcreaterole as can_create
    into owner
    from pg_catalog.pg_roles where rolname = current_user;

    -- By default everyone may execute a new function and create temporary tables. The default for future functions is
    -- not changed for a superuser: it would apply to the functions that an update of TimescaleDB creates.
    execute format('revoke temporary on database %I from public', current_database());
    if not owner.rolsuper then
        alter default privileges revoke execute on routines from public;
    end if;
    for granted in
        select
            routine.oid::regprocedure as routine,
            case when acl.grantee = 0 then 'public' else acl.grantee::regrole::text end as grantee
        from pg_catalog.pg_proc as routine
        cross join lateral pg_catalog.aclexplode(
            coalesce(routine.proacl, pg_catalog.acldefault('f', routine.proowner))
        ) as acl
        where
            routine.pronamespace in ('telemetry'::regnamespace, 'quality'::regnamespace)
            and acl.grantee <> routine.proowner
            and (acl.grantee = 0 or pg_catalog.pg_get_userbyid(acl.grantee) = any(role_names))
    loop
        execute format('revoke all on routine %s from %s', granted.routine, granted.grantee);
    end loop;

    for missing_role in
        select name
        from unnest(role_names) as name
        where not exists (select from pg_catalog.pg_roles where rolname = name)
    loop
        if not owner.can_create then
            raise warning 'the roles of docs/security.md are missing: % may not create them', current_user
            using hint = 'Run `timescale migrate` once with a login that has CREATEROLE.';
            return;
        end if;
        begin
            execute format('create role %I nologin', missing_role);
        exception
            -- Another database of this server is being migrated at the same time.
            when duplicate_object or unique_violation then null;
        end;
    end loop;

    -- What earlier versions granted and this one does not list; the privileges of columns go with those of their table.
    revoke all on all tables in schema telemetry, quality
    from collector_writer, transformer, quality_scanner, bi_reader, data_scientist, access_api, monitoring;

    execute format(
        'grant temporary on database %I to collector_writer, transformer, quality_scanner', current_database()
    );
    execute format('grant create on database %I to transformer', current_database());

    grant usage on schema telemetry
    to collector_writer, transformer, quality_scanner, bi_reader, data_scientist, access_api, monitoring;
    grant usage on schema quality to transformer, quality_scanner, data_scientist, access_api, monitoring;

    -- Readings are inserted, and changed only by telemetry.replace_readings, which keeps the replaced values. Elsewhere
    -- the collector changes only the columns that it counts or settles with.
    grant select on all tables in schema telemetry to collector_writer, transformer, quality_scanner;
    grant insert on telemetry.reading, telemetry.quarantine, telemetry.intake, telemetry.sensor, telemetry.series,
    telemetry.birth, telemetry.late_hour, telemetry.archived, telemetry.arrived, telemetry.superseded,
    telemetry.ignored, telemetry.live_series, telemetry.quarantine_usage to collector_writer;
    grant update (
        readings, repeats, last_received_at, replayed_at, discarded_at, omitted_bytes, omitted_sha256
    )
    on telemetry.quarantine to collector_writer;
    grant update (
        messages, decoded, ignored, quarantined_messages, readings, stored, duplicate, replaced, quarantined_readings
    ) on telemetry.intake to collector_writer;
    grant update (
        type, site, area, latitude, longitude, topic, device, discovered, timezone, since, description, updated_at,
        retired_at
    ) on telemetry.sensor to collector_writer;
    grant update (unit, minimum, maximum, interval_seconds, kind, updated_at, retired_at)
    on telemetry.series to collector_writer;
    grant update (received_at, payload), delete on telemetry.birth to collector_writer;
    grant update (holder) on telemetry.lock to collector_writer;
    grant update (last_arrived_at) on telemetry.live_series to collector_writer;
    grant update (bytes) on telemetry.quarantine_usage to collector_writer;
    grant update (noted_at) on telemetry.late_hour to collector_writer;
    grant update (messages, files, size_bytes, verified_at, slots) on telemetry.archived to collector_writer;
    grant update (messages) on telemetry.arrived to collector_writer;
    grant update (replaced_by, source, received_at, replaced_at) on telemetry.superseded to collector_writer;
    grant update (messages, value_count) on telemetry.ignored to collector_writer;
    grant execute on function telemetry.replace_readings(
        integer[], timestamptz[], double precision[], double precision[], timestamptz[], text, timestamptz[]
    ), telemetry.oldest_accepted(), telemetry.expired_before() to collector_writer;

    grant select on all tables in schema quality to transformer, quality_scanner;
    grant insert, delete on quality.check_result to quality_scanner;
    grant insert, update on quality.incident to quality_scanner;
    grant update (holder) on quality.lock to quality_scanner, transformer;

    grant select on telemetry.reading_1m, telemetry.reading_1h, telemetry.reading_1d
    to bi_reader, data_scientist, access_api, monitoring;
    grant select on telemetry.sensor, telemetry.series, telemetry.reading, telemetry.readings, telemetry.quarantine
    to data_scientist;
    grant execute on function telemetry.window_means(timestamptz, timestamptz, interval)
    to transformer, quality_scanner, data_scientist;
    grant select on telemetry.sensor, telemetry.series, telemetry.reading, telemetry.readings, telemetry.accounting,
    quality.check_result to access_api;
    grant select on telemetry.accounting, telemetry.intake, telemetry.superseded, telemetry.ignored, telemetry.rollup_lag,
    telemetry.retention_overdue, quality.check_result, quality.incident, quality.series_newest to data_scientist;

    -- No payload, and no detail either: it quotes payloads.
    grant select (
        id, received_at, quarantined_at, source, topic, retained, waited, reason, readings, repeats, last_received_at,
        replayed_at, discarded_at, omitted_bytes, omitted_sha256, omitted_slot
    ) on telemetry.quarantine to monitoring;
    grant select on telemetry.accounting, telemetry.intake, telemetry.ignored, telemetry.rollup_lag,
    telemetry.retention_overdue, quality.check_result, quality.incident, quality.series_newest to monitoring;
end
$$;
