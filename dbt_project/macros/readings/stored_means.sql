{#- The columns of the stored means over readings, of a minute, an hour or a day alike. -#}
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


{#- The stored means of a level ('1m', '1h', '1d') as they are. -#}
{% macro stored_means(level) -%}
-- depends_on: {{ source('mqtt', 'sensor_messages') }}
select
    {{ mean_columns() }}
from {{ source('telemetry', 'reading_' ~ level) }}
{%- endmacro %}
