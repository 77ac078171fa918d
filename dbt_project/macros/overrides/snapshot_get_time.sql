{#- dbt's own macro returns a time without a zone, and dbt warns about columns that have one. -#}
{% macro postgres__snapshot_get_time() -%}
    {{ current_timestamp() }}
{%- endmacro %}
