{#- For post-hooks: lets the role bi_reader read this relation, where that role exists. -#}
{% macro grant_to_readers() %}
do $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = 'bi_reader') then
        grant usage on schema {{ this.schema }} to bi_reader;
        grant select on {{ this }} to bi_reader;
    end if;
end
$$
{% endmacro %}
