{#- Anomalies: the figures that hours are compared with. docs/decisions/0009-load-cycles-and-anomalies.md explains why. -#}


{#- How far back hours are compared. In hours, because a day does not always have 24 of them. -#}
{% macro anomaly_memory() -%}
    interval '{{ threshold("usual_history") }}'
{%- endmacro %}


{#- The time without readings from which on there is a gap, in seconds: some intervals of the series, at least five minutes. -#}
{% macro gap_seconds(interval_seconds) -%}
    greatest({{ var('gap_after_intervals') }} * {{ interval_seconds }}, 300)
{%- endmacro %}


{#- The number of robust sigmas from which on a value is an anomaly. -#}
{% macro anomaly_sigmas() -%}
    {{ var('anomaly_sigmas') }}
{%- endmacro %}


{#- 1.4826 times the median absolute deviation estimates the standard deviation of a normal distribution. -#}
{% macro robust_sigma(values, centre) -%}
    (
        select 1.4826 * percentile_cont(0.5) within group (order by abs(element.value - {{ centre }}))
        from unnest({{ values }}) as element (value)
        where element.value is not null
    )
{%- endmacro %}


{#- The median of an array; nulls are ignored. -#}
{% macro median_of(values) -%}
    (
        select percentile_cont(0.5) within group (order by element.value)
        from unnest({{ values }}) as element (value)
        where element.value is not null
    )
{%- endmacro %}


{#- A number as text for people: four digits, no exponent. -#}
{% macro in_words(number) -%}
    trim_scale(round(
        ({{ number }})::numeric,
        case when {{ number }} = 0 then 0 else greatest(0, 3 - floor(log(abs(({{ number }})::numeric))))::integer end
    ))
{%- endmacro %}


{#- An instant as text for people, in UTC. -#}
{% macro instant_in_words(instant) -%}
    to_char({{ instant }} at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
{%- endmacro %}


{#- For pre-hooks: creates the temporary table anomaly_start (series_id, since), the first hour from which on each series is
    computed again. An hour is judged by the hours before it, so a late reading affects every hour from its own hour on. -#}
{% macro create_anomaly_start() %}
{{ create_changed_hours('hour') }}
    {%- if is_incremental() %}
create temporary table anomaly_start on commit drop as
select
    series.series_id,
    coalesce(min(changed_hour.bucket), {{ changed_from('hour') }}) as since
from (select distinct series_id from {{ ref('int_series_history') }}) as series
left join changed_hour on series.series_id = changed_hour.series_id
group by series.series_id;
create unique index on anomaly_start (series_id);
analyze anomaly_start;
    {%- endif %}
{% endmacro %}


{#- For pre-hooks: create_anomaly_start, and deletes from this model the hours that are computed again. -#}
{% macro delete_changed_anomaly_hours() %}
{{ create_anomaly_start() }}
    {%- if is_incremental() %}
delete from {{ this }} as old
using anomaly_start
where old.series_id = anomaly_start.series_id and old.bucket >= anomaly_start.since;
    {%- endif %}
{% endmacro %}
