{#- dbt's own macro for PostgreSQL, except that a table with a contract is filled from a temporary table. dbt inserts the
    model's query; in an INSERT, TimescaleDB reads the watermark of a continuous aggregate once per row instead of once per
    query, which takes ten times as long. -#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if config.get('contract').enforced %}
    {{ get_assert_columns_equivalent(sql) }}
    {%- endif %}
    {%- if temporary or not config.get('contract').enforced %}
    create {{ 'temporary ' if temporary }}table {{ relation }} as (
        {{ sql }}
    );
    {%- else %}
    create temporary table model_rows on commit drop as (
        {{ get_select_subquery(sql) }}
    );
    create table {{ relation }}
    {{ get_table_columns_and_constraints() }};
    insert into {{ relation }} ({{ adapter.dispatch('get_column_names', 'dbt')() }})
    select * from model_rows;
    drop table model_rows;
    {%- endif %}
{%- endmacro %}
