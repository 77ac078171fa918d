{#- Readings are hashed into their groups; the planner would sort them, which takes half as long again. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook=[
        "{{ forget_changed('bucket', grain='hour') }}",
        "set local work_mem = '64MB'; set local enable_sort = off",
    ],
) }}

{{ reading_summary('hour') }}
