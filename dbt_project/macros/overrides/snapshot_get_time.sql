{#- dbt's own is without a time zone, and complains that ours has one. -#}
{% macro postgres__snapshot_get_time() -%}
    {{ current_timestamp() }}
{%- endmacro %}
