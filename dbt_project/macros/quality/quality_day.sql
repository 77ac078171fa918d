{#- For the pre-hook of int_quality_day: creates the temporary table changed_day (sensor_id, bucket), the days before
    changed_from('day') of sensors that got late readings since the last build, or whose messages were quarantined (a
    collector may have kept them for days) or replayed; then deletes from this model every day that is computed again. -#}
{% macro delete_changed_quality_days() %}
    {%- if is_incremental() %}
{{ create_changed_hours('day') }}
create temporary table changed_day on commit drop as
select
    series.sensor_id,
    {{ bucket_of('changed_hour.bucket', 'day') }} as bucket
from changed_hour
inner join {{ ref('stg_telemetry__series') }} as series on changed_hour.series_id = series.series_id
union
select
    sensor.sensor_id,
    {{ bucket_of('quarantine.received_at', 'day') }}
from {{ ref('stg_telemetry__quarantine') }} as quarantine
inner join {{ ref('dim_sensor_history') }} as sensor on quarantine.topic = sensor.topic
where
    greatest(quarantine.quarantined_at, quarantine.replayed_at)
        >= timestamptz '{{ built_until() or "-infinity" }}' - interval '1 hour'
    and quarantine.received_at < {{ changed_from('day') }};
create unique index on changed_day (sensor_id, bucket);
analyze changed_day;
delete from {{ this }} where bucket >= {{ changed_from('day') }};
delete from {{ this }} as old
using changed_day as changed
where old.sensor_id = changed.sensor_id and old.bucket = changed.bucket;
    {%- endif %}
{% endmacro %}


{#- The quality in points, 0 to 100, as an expression of SQL over columns named like the parts: their mean, weighted by the
    variable quality_weights. A part that is null is left out, together with its weight. -#}
{% macro quality_points() %}
    {%- set parts = ['completeness', 'validity', 'timeliness', 'uniqueness', 'checks_passed'] %}
    {%- set weights = var('quality_weights', {}) %}
    {%- set invalid = [] %}
    {%- if weights is not mapping or weights.keys() | list | sort != parts | sort %}
        {%- do invalid.append('all') %}
    {%- else %}
        {%- for weight in weights.values() if weight is not number or weight is boolean or weight < 0 %}
            {%- do invalid.append(weight) %}
        {%- endfor %}
    {%- endif %}
    {%- if invalid or weights.completeness == 0 %}
        {%- do exceptions.raise_compiler_error(
            "vars: quality_weights is " ~ weights ~ ": set a weight of 0 or more for each of " ~ parts | join(', ')
            ~ "; the weight of completeness, the part that every day has, must be more than 0.") %}
    {%- endif %}
    {%- set weighted_parts, known_weights = [], [] %}
    {%- for part in parts %}
        {%- do weighted_parts.append("coalesce(" ~ weights[part] ~ " * " ~ part ~ ", 0)") %}
        {%- do known_weights.append("case when " ~ part ~ " is null then 0 else " ~ weights[part] ~ " end") %}
    {%- endfor %}
    {{- return("100.0 * (" ~ weighted_parts | join(' + ') ~ ") / (" ~ known_weights | join(' + ') ~ ")") }}
{% endmacro %}
