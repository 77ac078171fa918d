{{ config(materialized='ephemeral') }}

select
    series_id,
    unit,
    dense_rank() over (order by series_id, unit) as line,
    coalesce(minimum, '-infinity') as minimum,
    coalesce(maximum, 'infinity') as maximum,
    {{ gap_limit('interval_seconds') }} as gap_limit,
    valid_from,
    valid_to
from {{ ref('int_series_history') }}
where quantity in ({{ load_quantities() }})
