{#- dbt's own for PostgreSQL, but that a table under contract is filled by way of a temporary one. dbt would insert the
    model's query, and in an INSERT TimescaleDB asks for the watermark of a continuous aggregate once a row, not once a
    query: ten times the time. -#}
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
