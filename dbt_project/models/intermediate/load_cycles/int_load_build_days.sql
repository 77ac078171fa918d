{#- The pre-hook of int_load_phase creates the temporary table: an ephemeral model can't tell whether the model that reads
    it is built incrementally. -#}
{{ config(materialized='ephemeral') }}

-- depends_on: {{ ref('int_series_history') }}
select
    series_id,
    gap_limit,
    days
from load_build_days
