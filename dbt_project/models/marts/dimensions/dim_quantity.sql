select
    version.quantity_key,
    version.quantity,
    version.unit,
    coalesce(unit.symbol, version.unit) as unit_symbol,
    coalesce(unit.name, version.unit) as unit_name,
    min(version.minimum) as minimum,
    max(version.maximum) as maximum,
    count(distinct version.sensor_id) as sensor_count,
    count(distinct version.series_id) filter (
        where version.is_current and version.retired_at is null
    ) as series_in_service
from {{ ref('int_series_history') }} as version
left join {{ ref('int_unit') }} as unit on version.unit = unit.unit
group by version.quantity_key, version.quantity, version.unit, unit.symbol, unit.name
