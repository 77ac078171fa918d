{#- The figures of a bucket that are in the unit of its readings; null where the unit changed within the bucket, since they
    would mix two units. The query has the column has_one_unit. -#}
{% macro figures_in_one_unit(names) -%}
    {%- for name in names %}
    case when has_one_unit then {{ name }} end as {{ name }},
    {%- endfor %}
{%- endmacro %}


{#- The whole number of intervals in a time. The sum of the shares of several versions may be slightly less than a whole
    number, depending on their order: a small epsilon is added before floor(). -#}
{% macro whole_intervals(intervals) -%}
    floor(0.000001 + {{ intervals }})
{%- endmacro %}
