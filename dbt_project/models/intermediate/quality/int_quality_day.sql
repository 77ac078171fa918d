{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ delete_changed_quality_days() }}",
    indexes=[
        {'columns': ['sensor_id', 'bucket'], 'unique': true},
        {'columns': ['sensor_id', 'day']},
        {'columns': ['day']},
        {'columns': ['bucket']},
    ],
) }}

{% set from_day = changed_from('day') %}
{% set day_length = "interval '" ~ bucket_length('day') ~ "'" %}
{% set earliest %}
{%- if is_incremental() %}least({{ from_day }}, (select min(changed_day.bucket) from changed_day)){% else %}{{ from_day }}{% endif %}
{%- endset %}

-- The time in which each version of a series was in service: from its registration until it was retired.
with in_service as (
    select
        series_id,
        sensor_id,
        interval_seconds,
        greatest(valid_from, registered_at, since) as from_time,
        least(valid_to, retired_at, now()) as until_time
    from {{ ref('int_series_history') }}
),

service_days as (
    select
        in_service.*,
        days.bucket
    from in_service
    cross join lateral (
        select generated.bucket
        from generate_series(
            {{ bucket_of("greatest(in_service.from_time, " ~ from_day ~ ")", 'day') }},
            in_service.until_time,
            {{ day_length }}
        ) as generated (bucket)
        {% if is_incremental() %}
        union all
        select changed_day.bucket
        from changed_day
        where
            changed_day.sensor_id = in_service.sensor_id
            and changed_day.bucket < in_service.until_time
            and changed_day.bucket + {{ day_length }} > in_service.from_time
        {% endif %}
    ) as days
    where in_service.from_time < in_service.until_time
),

expected as (
    select
        sensor_id,
        series_id,
        bucket,
        {{ whole_intervals("sum(
            greatest(0, extract(
                epoch from least(until_time, bucket + " ~ day_length ~ ") - greatest(from_time, bucket)
            )) / interval_seconds
        )") }}::bigint as expected_count
    from service_days
    group by 1, 2, 3
),

readings as (
    select * from {{ ref('fct_reading_day') }} where bucket >= {{ from_day }}
    {% if is_incremental() %}
    union all
    select reading.*
    from changed_day
    inner join {{ ref('fct_reading_day') }} as reading
        on changed_day.sensor_id = reading.sensor_id and changed_day.bucket = reading.bucket
    {% endif %}
),

-- Series with expected or received readings.
series_days as (
    select
        coalesce(readings.sensor_id, expected.sensor_id) as sensor_id,
        coalesce(readings.bucket, expected.bucket) as bucket,
        coalesce(readings.sample_count, 0) as sample_count,
        coalesce(readings.expected_count, expected.expected_count) as expected_count,
        coalesce(readings.completeness, 0) as completeness,
        case when readings.series_id is null then 0 else readings.late_count end as late_count,
        case when readings.series_id is null then 0 else readings.out_of_range_count end as out_of_range_count
    from expected
    full outer join readings on expected.series_id = readings.series_id and expected.bucket = readings.bucket
    where readings.series_id is not null or expected.expected_count >= 1
),

sensor_days as (
    select
        sensor_id,
        bucket,
        count(*)::integer as series_count,
        sum(sample_count)::bigint as sample_count,
        sum(expected_count)::bigint as expected_count,
        avg(completeness) as completeness,
        -- Null if the day is built again after retention has dropped its raw readings.
        case when count(late_count) = count(*) then sum(late_count)::bigint end as late_count,
        case when count(out_of_range_count) = count(*) then sum(out_of_range_count)::bigint end as out_of_range_count
    from series_days
    group by 1, 2
),

-- Quarantined messages are assigned to sensors by their topic and the registry at that time. Messages on a topic that
-- several sensors share, or that the registry matches with a filter, cannot be assigned.
assigned as (
    select
        quarantine.id,
        min(sensor.sensor_id) as sensor_id,
        min({{ bucket_of('quarantine.received_at', 'day') }}) as bucket,
        min(quarantine.reason) as reason,
        -- A message that could not be decoded counts as one reading: its number of readings is unknown.
        min(greatest(quarantine.readings, 1)) as readings
    from {{ ref('stg_telemetry__quarantine') }} as quarantine
    inner join {{ ref('dim_sensor_history') }} as sensor
        on
            quarantine.topic = sensor.topic
            and quarantine.received_at >= sensor.valid_from
            and quarantine.received_at < sensor.valid_to
    where
        quarantine.replayed_at is null
        and (sensor.retired_at is null or quarantine.received_at < sensor.retired_at)
        and quarantine.received_at >= {{ earliest }}
    group by quarantine.id
    having count(*) = 1
),

quarantined as (
    select
        sensor_id,
        bucket,
        sum(readings) filter (where reason <> 'conflicting_value') as quarantined_count,
        sum(readings) filter (where reason = 'conflicting_value') as conflict_count
    from assigned
    group by 1, 2
),

checks as (
    select
        coalesce(result.sensor_id, series.sensor_id) as sensor_id,
        {{ bucket_of('result.checked_at', 'day') }} as bucket,
        count(*) as check_count,
        count(*) filter (where result.outcome = 'passed') as passed_count
    from {{ ref('stg_quality__check_result') }} as result
    left join {{ ref('stg_telemetry__series') }} as series on result.series_id = series.series_id
    where result.outcome in ('passed', 'failed') and result.checked_at >= {{ earliest }}
    group by 1, 2
)

select
    sensor_days.bucket,
    (sensor_days.bucket at time zone 'UTC')::date as day,
    sensor_days.sensor_id,
    sensor.sensor_version_key,
    sensor.type,
    sensor.site,
    sensor.area,
    sensor_days.series_count,
    sensor_days.sample_count,
    sensor_days.expected_count,
    sensor_days.completeness,
    sensor_days.late_count,
    sensor_days.out_of_range_count,
    coalesce(quarantined.quarantined_count, 0) as quarantined_count,
    coalesce(quarantined.conflict_count, 0) as conflict_count,
    coalesce(checks.check_count, 0) as check_count,
    coalesce(checks.passed_count, 0) as passed_count
from sensor_days
{{ join_version('sensor_days', 'bucket', version='sensor', relation=ref('dim_sensor_history'), key='sensor_id') }}
left join quarantined on sensor_days.sensor_id = quarantined.sensor_id and sensor_days.bucket = quarantined.bucket
left join checks on sensor_days.sensor_id = checks.sensor_id and sensor_days.bucket = checks.bucket
