{#- Joins the version of a series that was valid at an instant: `instant` is a column of `row`. Every instant has exactly
    one version, so the join neither adds nor removes rows. Further conditions may follow with "and". -#}
{% macro join_version(row, instant, version='version', relation=none, key='series_id') -%}
    inner join {{ relation or ref('int_series_history') }} as {{ version }}
        on
            {{ row }}.{{ key }} = {{ version }}.{{ key }}
            and {{ row }}.{{ instant }} >= {{ version }}.valid_from
            and {{ row }}.{{ instant }} < {{ version }}.valid_to
{%- endmacro %}
