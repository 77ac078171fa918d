-- The roles of the product's logins and their privileges: docs/security.md has the same table, and a test compares the
-- two. Roles belong to the whole server. A login without the right to create roles can still migrate: the database then
-- works for its owner only, and a later run with that right creates the roles.
do $$
declare
    missing_role text;
    can_create constant boolean := (
        select rolsuper or rolcreaterole from pg_catalog.pg_roles where rolname = current_user
    );
begin
    for missing_role in
        select name
        from unnest(array[
            'collector_writer', 'transformer', 'quality_scanner', 'bi_reader', 'data_scientist', 'access_api'
        ]) as name
        where not exists (select from pg_catalog.pg_roles where rolname = name)
    loop
        if not can_create then
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

    execute format(
        'grant temporary on database %I to collector_writer, transformer, quality_scanner', current_database()
    );
    execute format('grant create on database %I to transformer', current_database());

    grant usage on schema telemetry
    to collector_writer, transformer, quality_scanner, bi_reader, data_scientist, access_api;
    grant usage on schema quality to transformer, quality_scanner, data_scientist, access_api;

    -- Readings are inserted, and changed only by telemetry.replace_readings, which keeps the replaced values.
    grant select on all tables in schema telemetry to collector_writer, transformer, quality_scanner;
    grant insert on telemetry.reading, telemetry.quarantine, telemetry.intake, telemetry.sensor, telemetry.series,
    telemetry.birth, telemetry.late_hour, telemetry.archived, telemetry.superseded, telemetry.ignored
    to collector_writer;
    grant update on telemetry.quarantine, telemetry.intake, telemetry.sensor, telemetry.series, telemetry.birth,
    telemetry.late_hour, telemetry.archived, telemetry.superseded, telemetry.ignored to collector_writer;
    grant execute on function telemetry.replace_readings(
        integer[], timestamptz[], double precision[], double precision[], timestamptz[], text, timestamptz[]
    ) to collector_writer;

    grant select on all tables in schema quality to transformer, quality_scanner;
    grant insert, delete on quality.check_result to quality_scanner;
    grant insert, update on quality.incident to quality_scanner;

    grant select on telemetry.reading_1m, telemetry.reading_1h, telemetry.reading_1d
    to bi_reader, data_scientist, access_api;
    grant select on telemetry.sensor, telemetry.series, telemetry.reading, telemetry.readings, telemetry.quarantine
    to data_scientist;
    grant select on telemetry.sensor, telemetry.series, telemetry.reading, telemetry.readings, telemetry.accounting,
    quality.check_result to access_api;
    grant select on telemetry.accounting, telemetry.intake, telemetry.superseded, telemetry.ignored, telemetry.rollup_lag,
    telemetry.retention_overdue, quality.check_result, quality.incident, quality.series_newest to data_scientist;
end
$$;
