{#- For post-hooks: lets those who read marts read this relation, as far as their roles exist (timescale migrate makes
    them). Not dbt's own `grants`: that fails where a role is missing. -#}
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
            -- Two models that are built at the same time may not both change the schema.
            perform pg_advisory_xact_lock(hashtext('grant_to_readers'));
            execute format('grant usage on schema {{ this.schema }} to %I', reader);
            -- What a person makes beside the models, as the same login, is read by the same readers.
            execute format('alter default privileges in schema {{ this.schema }} grant select on tables to %I', reader);
        end if;
        execute format('grant select on {{ this }} to %I', reader);
    end loop;
end
$$
{% endmacro %}
