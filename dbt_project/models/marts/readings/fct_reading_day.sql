{#- Sorting is off so that readings are hashed into their groups; sorting takes half as long again. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook=[
        "{{ delete_changed_buckets('bucket', grain='day') }}",
        "set local work_mem = '64MB'; set local enable_sort = off",
    ],
) }}

{{ reading_summary('day') }}
