{#- The columns of the stored means, the same for minutes, hours and days. -#}
{% macro mean_columns() -%}
    bucket,
    series_id,
    mean,
    minimum,
    maximum,
    first_value,
    last_value,
    sum_value,
    sample_count
{%- endmacro %}


{#- The query of stg_telemetry__reading_1m, _1h and _1d: the stored means of a level ('1m', '1h', '1d'), unchanged. -#}
{% macro stored_means(level) -%}
-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    {{ mean_columns() }}
from {{ source('telemetry', 'reading_' ~ level) }}
{%- endmacro %}
