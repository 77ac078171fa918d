{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_changed_anomaly_hours() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket', 'kind'], 'unique': true}],
) }}

with
{%- if is_incremental() %}
-- An hour is compared only with the same hour of earlier days, so only these hours are read.
hours_to_judge as materialized (
    select
        anomaly_start.series_id,
        anomaly_start.since,
        array_agg(distinct extract(hour from hour.bucket)) as hours
    from anomaly_start
    cross join lateral (
        select bucket
        from {{ ref('int_anomaly_hour') }}
        where series_id = anomaly_start.series_id and bucket >= anomaly_start.since
        offset 0
    ) as hour
    group by 1, 2
),
{%- endif %}

hourly as (
    select
        hour.bucket,
        hour.series_id,
        hour.unit,
        hour.mean,
        hour.day_median,
        hour.unchanged_since,
        extract(hour from hour.bucket) as hour,
        {%- if is_incremental() %}
        hour.bucket >= hours_to_judge.since as is_judged
    from hours_to_judge
    cross join lateral (
        select *
        from {{ ref('int_anomaly_hour') }}
        where series_id = hours_to_judge.series_id and bucket >= hours_to_judge.since - {{ anomaly_memory() }}
        offset 0
    ) as hour
    where extract(hour from hour.bucket) = any(hours_to_judge.hours)
        {%- else %}
        true as is_judged
    from {{ ref('int_anomaly_hour') }} as hour
        {%- endif %}
),

compared as (
    select
        *,
        count(mean) over earlier_days as mean_count,
        min(mean) over earlier_days as least_mean,
        max(mean) over earlier_days as greatest_mean,
        array_agg(mean) over earlier_days as means,
        count(day_median) over earlier_days as median_count,
        min(day_median) over earlier_days as least_median,
        max(day_median) over earlier_days as greatest_median,
        array_agg(day_median) over earlier_days as medians
    from hourly
    window earlier_days as (
        partition by series_id, unit, hour order by bucket
        range between {{ anomaly_memory() }} preceding and interval '1 hour' preceding
    )
),

-- Two tests in sequence: the value lies outside the range of the same hour in four weeks, and far from its median. The
-- first test is the cheaper one, and most hours fail it.
outside_range as (
    select
        bucket,
        series_id,
        unit,
        'seasonal' as kind,
        mean as observed,
        means as earlier
    from compared
    where is_judged and mean_count >= 7 and (mean < least_mean or mean > greatest_mean)
    union all
    select
        bucket,
        series_id,
        unit,
        'level_shift' as kind,
        day_median as observed,
        medians as earlier
    from compared
    where is_judged and median_count >= 7 and (day_median < least_median or day_median > greatest_median)
),

with_expected as (
    select
        *,
        {{ median_of('earlier') }} as expected
    from outside_range
),

with_sigma as (
    select
        *,
        {{ robust_sigma('earlier', 'expected') }} as sigma
    from with_expected
),

-- If fewer than seven earlier days have this hour, it is compared with all hours before its day.
suspect as materialized (
    select
        bucket,
        series_id,
        unit,
        kind,
        'same_hour' as basis,
        observed,
        expected,
        sigma
    from with_sigma
    where abs(observed - expected) > {{ anomaly_sigmas() }} * sigma
    union all
    select
        bucket,
        series_id,
        unit,
        'seasonal' as kind,
        'all_hours' as basis,
        mean as observed,
        null as expected,
        null as sigma
    from compared
    where is_judged and mean_count < 7
),

history as (
    select
        day.series_id,
        day.unit,
        day.bucket,
        count(*) as hour_count,
        min(hour.mean) as least,
        max(hour.mean) as greatest,
        percentile_cont(0.5) within group (order by hour.mean) as median,
        array_agg(hour.mean) as means
    from (
        select distinct
            series_id,
            unit,
            {{ bucket_of('bucket', 'day') }} as bucket
        from suspect
    ) as day
    cross join lateral (
        select mean
        from {{ ref('int_anomaly_hour') }}
        where
            series_id = day.series_id
            and unit = day.unit
            and bucket >= day.bucket - {{ anomaly_memory() }}
            and bucket < day.bucket
        offset 0
    ) as hour
    group by 1, 2, 3
),

history_spread as materialized (
    select
        *,
        {{ robust_sigma('means', 'median') }} as sigma
    from history
),

-- Sigma is at least a tenth of the sigma of all hours, and at least a thousandth of the plausible range: otherwise a
-- few equal values would make any other value an anomaly.
judged as (
    select
        suspect.bucket,
        suspect.series_id,
        suspect.unit,
        suspect.kind,
        suspect.observed,
        case
            when suspect.basis = 'same_hour' then 'same_hour'
            when history_spread.hour_count >= 12 then 'all_hours'
            else 'plausible_range'
        end as basis,
        case
            when suspect.basis = 'same_hour' then suspect.expected
            when history_spread.hour_count >= 12 then history_spread.median
            else greatest(least(suspect.observed, version.maximum), version.minimum)
        end as expected,
        greatest(
            suspect.sigma,
            case when suspect.basis = 'same_hour' then 0.1 else 1 end * history_spread.sigma,
            0.001 * (version.maximum - version.minimum)
        ) as sigma,
        history_spread.least,
        history_spread.greatest
    from suspect
    left join history_spread
        on
            suspect.series_id = history_spread.series_id
            and suspect.unit = history_spread.unit
            and {{ bucket_of('suspect.bucket', 'day') }} = history_spread.bucket
    {{ join_version('suspect', 'bucket') }}
),

-- A flat line by the limits of telemetry.threshold, but of at least three hours, since only whole hours are compared:
-- no change for six intervals, and for more than twice as long as ever in the four weeks before.
flat_line as (
    select
        hourly.bucket,
        hourly.series_id,
        hourly.unit,
        hourly.unchanged_since + interval '1 hour' as started_at,
        hourly.mean as observed,
        history.longest
    from hourly
    {{ join_version('hourly', 'bucket') }}
    cross join lateral (
        select
            count(*) as hour_count,
            max(earlier.bucket - earlier.unchanged_since) as longest
        from {{ ref('int_anomaly_hour') }} as earlier
        where
            earlier.series_id = hourly.series_id
            and earlier.unit = hourly.unit
            and earlier.bucket >= hourly.bucket - {{ anomaly_memory() }}
            and earlier.bucket < hourly.unchanged_since
    ) as history
    where
        hourly.is_judged
        and hourly.bucket - hourly.unchanged_since
        >= greatest(
            interval '3 hours', {{ threshold('flat_intervals') }} * version.interval_seconds * interval '1 second'
        )
        and history.hour_count >= {{ threshold('flat_history_hours') }}
        and hourly.bucket - hourly.unchanged_since > {{ threshold('flat_times_usual') }} * history.longest
)

select
    bucket,
    series_id,
    unit,
    kind,
    basis,
    bucket as started_at,
    observed,
    expected,
    case when basis <> 'plausible_range' then (observed - expected) / sigma end as deviation,
    null::double precision as usual_hours
from judged
where
    case basis
        when 'same_hour' then sigma > 0 and abs(observed - expected) > {{ anomaly_sigmas() }} * sigma
        when 'all_hours'
            then
                sigma > 0
                and abs(observed - expected) > {{ anomaly_sigmas() }} * sigma
                and (observed < least or observed > greatest)
        else observed <> expected
    end

union all

select
    bucket,
    series_id,
    unit,
    'flat_line' as kind,
    'own_history' as basis,
    started_at,
    observed,
    null as expected,
    null as deviation,
    {{ seconds('longest') }} / 3600 as usual_hours
from flat_line
