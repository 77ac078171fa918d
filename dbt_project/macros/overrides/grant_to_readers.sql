{#- For post-hooks: grants select on this relation to the roles that read marts, as far as they exist (timescale migrate
    creates them). Not dbt's own `grants`: that fails if a role is missing. -#}
{% macro grant_to_readers() %}
do $$
declare
    reader text;
begin
    for reader in
        select rolname from pg_catalog.pg_roles
        where rolname in ('bi_reader', 'data_scientist', 'access_api', 'quality_scanner')
    loop
        if not has_schema_privilege(reader, '{{ this.schema }}', 'usage') then
            -- Two models that are built at the same time must not change the schema at the same time.
            perform from quality.lock where name = 'grants' for update;
            execute format('grant usage on schema {{ this.schema }} to %I', reader);
            -- Tables that someone creates beside the models, with the same login, get the same readers.
            execute format('alter default privileges in schema {{ this.schema }} grant select on tables to %I', reader);
        end if;
        execute format('grant select on {{ this }} to %I', reader);
    end loop;
end
$$
{% endmacro %}
