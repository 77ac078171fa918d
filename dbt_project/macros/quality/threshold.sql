{#- A limit of telemetry.threshold, as text of SQL: a constant, so that the planner can use it. -#}
{% macro threshold(name) %}
    {%- if not execute %}{{ return('0') }}{% endif %}
    {%- set limits = run_query("select " ~ name ~ "::text from telemetry.threshold") %}
    {{- return(limits.columns[0][0] | string) }}
{% endmacro %}


{#- The time after which a reading is late, as an interval of SQL: the dbt variable late_after_seconds, or the limit of
    telemetry.threshold where the variable is not set. -#}
{% macro late_after() -%}
    {%- set seconds = var('late_after_seconds') -%}
    interval '{{ (threshold('late_after_seconds') if seconds is none else seconds) | float }} seconds'
{%- endmacro %}
