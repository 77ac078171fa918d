{#- Sorting is off so that readings are hashed into their groups; sorting takes half as long again. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook=[
        "{{ delete_changed_buckets('bucket', grain='hour') }}",
        "set local work_mem = '64MB'; set local enable_sort = off",
    ],
) }}

{{ reading_summary('hour') }}
