{#- Anomalies: what is compared with what. docs/decisions/0009-load-cycles-and-anomalies.md says why. -#}


{#- How far back an hour is compared. Hours, because a day is not always 24 of them. -#}
{% macro anomaly_memory() -%}
    interval '672 hours'
{%- endmacro %}


{#- A value is an anomaly from so many robust sigmas on. -#}
{% macro anomaly_sigmas() -%}
    {{ var('anomaly_sigmas') }}
{%- endmacro %}


{#- 1.4826 times the median absolute deviation estimates the standard deviation of a normal distribution. -#}
{% macro robust_sigma(values, centre) -%}
    (
        select 1.4826 * percentile_cont(0.5) within group (order by abs(one.value - {{ centre }}))
        from unnest({{ values }}) as one (value)
        where one.value is not null
    )
{%- endmacro %}


{#- The median of an array; nulls don't count. -#}
{% macro median_of(values) -%}
    (
        select percentile_cont(0.5) within group (order by one.value)
        from unnest({{ values }}) as one (value)
        where one.value is not null
    )
{%- endmacro %}


{#- A number for people: four digits, no exponent. -#}
{% macro in_words(number) -%}
    trim_scale(round(
        ({{ number }})::numeric,
        case when {{ number }} = 0 then 0 else greatest(0, 3 - floor(log(abs(({{ number }})::numeric))))::integer end
    ))
{%- endmacro %}


{#- For pre-hooks: makes the temporary table anomaly_from, from which hour on each series is computed anew. An hour is
    judged by those before it, so that a late reading concerns every hour from its own on, and none before. -#}
{% macro take_anomaly_hours() %}
{{ take_changed_hours('hour') }}
    {%- if is_incremental() %}
create temporary table anomaly_from on commit drop as
select
    series.series_id,
    coalesce(min(changed_hour.bucket), {{ changed_from('hour') }}) as since
from (select distinct series_id from {{ ref('int_series_history') }}) as series
left join changed_hour on series.series_id = changed_hour.series_id
group by series.series_id;
create unique index on anomaly_from (series_id);
analyze anomaly_from;
    {%- endif %}
{% endmacro %}


{#- For pre-hooks: take_anomaly_hours, and removes from this model what is to be computed again. -#}
{% macro forget_anomaly_hours() %}
{{ take_anomaly_hours() }}
    {%- if is_incremental() %}
delete from {{ this }} as old
using anomaly_from
where old.series_id = anomaly_from.series_id and old.bucket >= anomaly_from.since;
    {%- endif %}
{% endmacro %}


{#- An instant for people, in UTC. -#}
{% macro instant_in_words(instant) -%}
    to_char({{ instant }} at time zone 'UTC', 'YYYY-MM-DD HH24:MI')
{%- endmacro %}
