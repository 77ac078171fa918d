{{ config(materialized='table') }}

with
-- Flagged hours of one kind and direction that start at most two hours apart are one anomaly, and so are the hours of
-- one flat line.
adjacent as (
    select
        *,
        coalesce(
            case kind
                when 'flat_line' then started_at = lag(started_at) over in_order
                else bucket <= lag(bucket) over in_order + interval '2 hours'
            end, false
        ) as is_continued
    from (
        select
            *,
            coalesce(sign(observed - expected), 0) as direction
        from {{ ref('int_anomaly_flag') }}
    ) as flagged
    window in_order as (partition by series_id, unit, kind, direction order by bucket)
),

numbered as (
    select
        *,
        sum((not is_continued)::integer) over (partition by series_id, unit, kind, direction order by bucket) as number
    from adjacent
),

-- The row of an anomaly describes its worst hour.
ranked as (
    select
        *,
        row_number() over (
            partition by series_id, unit, kind, direction, number
            order by abs(deviation) desc nulls last, abs(observed - expected) desc nulls last, bucket desc
        ) as rank
    from numbered
),

deviating as (
    select
        series_id,
        unit,
        kind,
        min(started_at) as started_at,
        max(bucket) + interval '1 hour' as ended_at,
        max(basis) filter (where rank = 1) as basis,
        max(bucket) filter (where rank = 1) as worst_at,
        max(observed) filter (where rank = 1) as observed,
        max(expected) filter (where rank = 1) as expected,
        max(deviation) filter (where rank = 1) as deviation,
        max(usual_hours) filter (where rank = 1) as usual_hours
    from ranked
    group by series_id, unit, kind, direction, number
),

newest as materialized (
    select
        series.series_id,
        version.retired_at,
        version.unit,
        version.interval_seconds,
        hour.bucket,
        coalesce(hour.last_time, hour.bucket + interval '1 hour') as last_time,
        max(coalesce(hour.last_time, hour.bucket + interval '1 hour')) over () as newest_time
    from (select distinct series_id from {{ ref('int_series_history') }}) as series
    inner join {{ ref('int_series_history') }} as version
        on series.series_id = version.series_id and version.is_current
    cross join lateral (
        select
            bucket,
            last_time
        from {{ ref('fct_reading_hour') }}
        where series_id = series.series_id
        order by bucket desc
        limit 1
    ) as hour
),

missing as (
    select
        series_id,
        unit,
        started_at,
        ended_at,
        false as is_open
    from {{ ref('int_anomaly_gap') }}
    union all
    -- Compared with the newest reading of all series, not with the clock: series loaded from files are not missing
    -- since then, and the result does not depend on when the build runs.
    select
        series_id,
        unit,
        last_time + interval_seconds * interval '1 second' as started_at,
        least(newest_time, retired_at) as ended_at,
        retired_at is null or retired_at > newest_time as is_open
    from newest
    where
        least(newest_time, retired_at) - last_time
        > {{ gap_seconds('interval_seconds') }} * interval '1 second'
),

anomaly as (
    select
        deviating.series_id,
        deviating.unit,
        deviating.kind,
        deviating.basis,
        deviating.started_at,
        deviating.ended_at,
        deviating.observed,
        deviating.expected,
        deviating.deviation,
        deviating.ended_at > newest.bucket as is_open,
        case
            when deviating.kind = 'flat_line'
                then
                    'No change from ' || {{ in_words('deviating.observed') }} || ' ' || deviating.unit || ' for '
                    || {{ in_words(seconds('deviating.ended_at - deviating.started_at') ~ ' / 3600') }}
                    || ' hours; in the four weeks before never for longer than '
                    || {{ in_words('deviating.usual_hours') }} || '.'
            when deviating.basis = 'plausible_range'
                then
                    'Mean of the hour from ' || {{ instant_in_words('deviating.worst_at') }} || ' is '
                    || {{ in_words('deviating.observed') }} || ' ' || deviating.unit || ', '
                    || case when deviating.observed > deviating.expected then 'above' else 'below' end
                    || ' the plausible range, which ends at ' || {{ in_words('deviating.expected') }}
                    || '; there is no history yet to compare with.'
            else
                case deviating.kind
                    when 'level_shift' then 'Median of the 24 hours to the end of the hour from '
                    else 'Mean of the hour from '
                end
                || {{ instant_in_words('deviating.worst_at') }} || ' is ' || {{ in_words('deviating.observed') }} || ' '
                || deviating.unit || ', ' || round(abs(deviating.deviation)::numeric, 1) || ' robust sigmas '
                || case when deviating.deviation > 0 then 'above' else 'below' end
                || ' the expected ' || {{ in_words('deviating.expected') }}
                || case
                    when deviating.basis = 'all_hours'
                        then ' (median of all hours before that day; too few days yet to know what is usual at this hour).'
                    when deviating.kind = 'level_shift' then ' (median of the same figure on the days of four weeks).'
                    else ' (median at this hour on the days of four weeks).'
                end
        end as reason
    from deviating
    inner join newest on deviating.series_id = newest.series_id
    union all
    select
        missing.series_id,
        missing.unit,
        'gap' as kind,
        'interval' as basis,
        missing.started_at,
        missing.ended_at,
        null as observed,
        null as expected,
        null as deviation,
        missing.is_open,
        'No readings for '
        || case
            when missing.ended_at - missing.started_at < interval '2 hours'
                then {{ in_words(seconds('missing.ended_at - missing.started_at') ~ ' / 60') }} || ' minutes'
            else {{ in_words(seconds('missing.ended_at - missing.started_at') ~ ' / 3600') }} || ' hours'
        end
        || case when missing.is_open then ' and counting' else '' end || '; one is expected every '
        || {{ in_words('version.interval_seconds') }} || ' seconds.' as reason
    from missing
    {{ join_version('missing', 'started_at') }}
)

select
    anomaly.started_at,
    anomaly.ended_at,
    (anomaly.started_at at time zone 'UTC')::date as day,
    anomaly.series_id,
    version.sensor_id,
    version.sensor_version_key,
    version.quantity,
    anomaly.unit,
    version.quantity || ' ' || anomaly.unit as quantity_key,
    version.type,
    version.site,
    version.area,
    anomaly.kind,
    anomaly.basis,
    anomaly.observed,
    anomaly.expected,
    anomaly.deviation,
    {{ seconds('anomaly.ended_at - anomaly.started_at') }} / 3600 as duration_hours,
    anomaly.is_open,
    anomaly.reason
from anomaly
{{ join_version('anomaly', 'started_at') }}
