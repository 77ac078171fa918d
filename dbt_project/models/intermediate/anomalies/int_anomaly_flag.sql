{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ forget_anomaly_hours() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket', 'kind'], 'unique': true}],
) }}

with
{%- if is_incremental() %}
-- Only the same hours of earlier days are needed for the hours to be judged.
wanted as materialized (
    select
        anomaly_from.series_id,
        anomaly_from.since,
        array_agg(distinct extract(hour from hour.bucket)) as hours
    from anomaly_from
    cross join lateral (
        select bucket
        from {{ ref('int_anomaly_hour') }}
        where series_id = anomaly_from.series_id and bucket >= anomaly_from.since
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
        hour.bucket >= wanted.since as is_wanted
    from wanted
    cross join lateral (
        select *
        from {{ ref('int_anomaly_hour') }}
        where series_id = wanted.series_id and bucket >= wanted.since - {{ anomaly_memory() }}
        offset 0
    ) as hour
    where extract(hour from hour.bucket) = any(wanted.hours)
        {%- else %}
        true as is_wanted
    from {{ ref('int_anomaly_hour') }} as hour
        {%- endif %}
),

compared as (
    select
        *,
        count(mean) over earlier as mean_count,
        min(mean) over earlier as least_mean,
        max(mean) over earlier as greatest_mean,
        array_agg(mean) over earlier as means,
        count(day_median) over earlier as median_count,
        min(day_median) over earlier as least_median,
        max(day_median) over earlier as greatest_median,
        array_agg(day_median) over earlier as medians
    from hourly
    window earlier as (
        partition by series_id, unit, hour order by bucket
        range between {{ anomaly_memory() }} preceding and interval '1 hour' preceding
    )
),

-- Two tests, one after the other: nothing like it at this hour in four weeks, and far from what is usual. Most hours
-- fail the first, which is the cheaper one.
novel as (
    select
        bucket,
        series_id,
        unit,
        'seasonal' as kind,
        mean as observed,
        means as earlier
    from compared
    where is_wanted and mean_count >= 7 and (mean < least_mean or mean > greatest_mean)
    union all
    select
        bucket,
        series_id,
        unit,
        'level_shift' as kind,
        day_median as observed,
        medians as earlier
    from compared
    where is_wanted and median_count >= 7 and (day_median < least_median or day_median > greatest_median)
),

centred as (
    select
        *,
        {{ median_of('earlier') }} as expected
    from novel
),

measured as (
    select
        *,
        {{ robust_sigma('earlier', 'expected') }} as sigma
    from centred
),

-- Where fewer than seven earlier days know this hour, it is compared with all hours before its day.
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
    from measured
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
    where is_wanted and mean_count < 7
),

past as (
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

spread as materialized (
    select
        *,
        {{ robust_sigma('means', 'median') }} as sigma
    from past
),

-- No sigma is smaller than a tenth of that over all hours, nor than a thousandth of the plausible range: a few
-- equal values would make any other an anomaly.
judged as (
    select
        suspect.bucket,
        suspect.series_id,
        suspect.unit,
        suspect.kind,
        suspect.observed,
        case
            when suspect.basis = 'same_hour' then 'same_hour'
            when spread.hour_count >= 12 then 'all_hours'
            else 'plausible_range'
        end as basis,
        case
            when suspect.basis = 'same_hour' then suspect.expected
            when spread.hour_count >= 12 then spread.median
            else greatest(least(suspect.observed, version.maximum), version.minimum)
        end as expected,
        greatest(
            suspect.sigma,
            case when suspect.basis = 'same_hour' then 0.1 else 1 end * spread.sigma,
            0.001 * (version.maximum - version.minimum)
        ) as sigma,
        spread.least,
        spread.greatest
    from suspect
    left join spread
        on
            suspect.series_id = spread.series_id
            and suspect.unit = spread.unit
            and {{ bucket_of('suspect.bucket', 'day') }} = spread.bucket
    inner join {{ ref('int_series_history') }} as version
        on
            suspect.series_id = version.series_id
            and suspect.bucket >= version.valid_from
            and suspect.bucket < version.valid_to
),

-- No change for three hours and six readings at least, and for more than twice as long as ever in the four weeks before.
still as (
    select
        hourly.bucket,
        hourly.series_id,
        hourly.unit,
        hourly.unchanged_since + interval '1 hour' as started_at,
        hourly.mean as observed,
        before.longest
    from hourly
    inner join {{ ref('int_series_history') }} as version
        on
            hourly.series_id = version.series_id
            and hourly.bucket >= version.valid_from
            and hourly.bucket < version.valid_to
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
    ) as before
    where
        hourly.is_wanted
        and hourly.bucket - hourly.unchanged_since
        >= greatest(interval '3 hours', 6 * version.interval_seconds * interval '1 second')
        and before.hour_count >= 24
        and hourly.bucket - hourly.unchanged_since > 2 * before.longest
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
from still
