-- A view, so that changed weights apply to all days at once; the parts are stored in int_quality_day.
{{ config(materialized='view') }}

with parts as (
    select
        *,
        (sample_count - out_of_range_count) / nullif(sample_count + quarantined_count, 0)::double precision as validity,
        (sample_count - late_count) / nullif(sample_count, 0)::double precision as timeliness,
        sample_count / nullif(sample_count + conflict_count, 0)::double precision as uniqueness,
        passed_count / nullif(check_count, 0)::double precision as checks_passed
    from {{ ref('int_quality_day') }}
)

select
    day,
    bucket,
    sensor_id,
    sensor_version_key,
    type,
    site,
    area,
    {{ quality_points() }} as quality,
    completeness,
    validity,
    timeliness,
    uniqueness,
    checks_passed,
    series_count,
    sample_count,
    expected_count,
    late_count,
    out_of_range_count,
    quarantined_count,
    conflict_count,
    check_count,
    passed_count
from parts
