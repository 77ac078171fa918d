{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ forget_load_phases() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket', 'started_at'], 'unique': true}],
) }}

-- What belongs to a day follows from the readings of that day and of the one before alone, so that any days can be
-- computed anew by themselves: docs/decisions/0009-load-cycles-and-anomalies.md. No step joins what another one counted:
-- the planner can't know how many rows a step has, and would take the slowest of its joins.
with
-- line: a series in one unit.
version as materialized (
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
),

span as materialized (
    select
        version.series_id,
        max(version.gap_limit) as gap_limit,
        {%- if is_incremental() %}
        load_span.days
        {%- else %}
        tstzmultirange(tstzrange(null, null)) as days
        {%- endif %}
    from version
    {%- if is_incremental() %}
    inner join load_span on version.series_id = load_span.series_id
    group by version.series_id, load_span.days
    {%- else %}
    group by version.series_id
    {%- endif %}
),

-- The times from which readings are needed: each day, the day before, and the neighbours of the first and last reading.
period as materialized (
    select
        united.series_id,
        coalesce(lower(one.period), '-infinity') as since,
        coalesce(upper(one.period), 'infinity') as until
    from (
        select
            span.series_id,
            range_agg(tstzrange(
                lower(one.day) - interval '1 day' - span.gap_limit, upper(one.day) + span.gap_limit
            )) as periods
        from span
        cross join unnest(span.days) as one (day)
        group by span.series_id
    ) as united
    cross join unnest(united.periods) as one (period)
),

-- Implausible readings say nothing about the load.
reading as (
    select
        version.line,
        version.gap_limit,
        reading.time,
        reading.value,
        lag(reading.time) over one as previous_time,
        lag(reading.value) over one as previous_value,
        lead(reading.time) over one as next_time,
        lead(reading.value) over one as next_value
    from period
    inner join {{ ref('stg_telemetry__reading') }} as reading
        on
            period.series_id = reading.series_id
            and period.since <= reading.time
            and period.until > reading.time
    inner join version
        on
            reading.series_id = version.series_id
            and reading.time >= version.valid_from
            and reading.time < version.valid_to
            and reading.value between version.minimum and version.maximum
    window one as (partition by version.line order by reading.time)
),

-- level: the median of a reading and its two neighbours. It leaves edges where they are and takes out what only a
-- single reading shows.
neighbour as (
    select
        line,
        gap_limit,
        time,
        value,
        case when time - previous_time <= gap_limit then previous_time end as previous_time,
        case when next_time - time <= gap_limit then next_time end as next_time,
        case when time - previous_time <= gap_limit then previous_value else value end as before,
        case when next_time - time <= gap_limit then next_value else value end as after
    from reading
),

smooth as materialized (
    select
        line,
        gap_limit,
        time,
        value,
        previous_time,
        next_time,
        {{ bucket_of('time', 'day') }} as day,
        greatest(least(before, value), least(greatest(before, value), after)) as level
    from neighbour
),

-- The span of the levels of each day and the one before, to be cut into 256 bins.
extent as (
    select
        line,
        day,
        max(gap_limit) as gap_limit,
        min(level) as lowest,
        max(level) as highest
    from smooth
    group by line, day
),

adjacent as (
    select
        *,
        lag(day) over one = day - interval '1 day' as follows,
        lag(lowest) over one as lowest_before,
        lag(highest) over one as highest_before
    from extent
    window one as (partition by line order by day)
),

scale as materialized (
    select
        row_number() over (order by adjacent.line, adjacent.day) as scale,
        adjacent.line,
        adjacent.day,
        adjacent.gap_limit,
        case when adjacent.follows then least(adjacent.lowest, adjacent.lowest_before) else adjacent.lowest end as lowest,
        case when adjacent.follows then greatest(adjacent.highest, adjacent.highest_before) else adjacent.highest end
            as highest
    from adjacent
    inner join (select distinct line, series_id from version) as known on adjacent.line = known.line
    inner join span on known.series_id = span.series_id
    where span.days @> adjacent.day
),

binned as (
    select
        scale.scale,
        scale.lowest,
        scale.highest,
        smooth.level
    from scale
    inner join smooth on scale.line = smooth.line and scale.day = smooth.day
    where scale.highest > scale.lowest
    union all
    select
        scale.scale,
        scale.lowest,
        scale.highest,
        smooth.level
    from scale
    inner join smooth on scale.line = smooth.line and scale.day = smooth.day + interval '1 day'
    where scale.highest > scale.lowest
),

histogram as (
    select
        scale,
        least(floor((level - lowest) / (highest - lowest) * 256), 255) as bin,
        count(*)::double precision as frequency
    from binned
    group by 1, 2
),

running as (
    select
        *,
        sum(frequency) over below as n0,
        sum(frequency * bin) over below as s0,
        sum(frequency * bin * bin) over below as q0,
        sum(frequency) over whole as n,
        sum(frequency * bin) over whole as s,
        sum(frequency * bin * bin) over whole as q
    from histogram
    window
        below as (partition by scale order by bin),
        whole as (partition by scale)
),

-- Where to cut the histogram in two: minimum error thresholding after Kittler and Illingworth (Pattern Recognition 19,
-- 1986), which unlike Otsu's method also finds a level that is rarely taken. 1/12: the variance within a bin.
costed as (
    select
        *,
        case
            when n > n0
                then
                    n0 * ln(greatest(q0 / n0 - (s0 / n0) ^ 2, 0) + 1 / 12.0::double precision)
                    + (n - n0)
                    * ln(greatest((q - q0) / (n - n0) - ((s - s0) / (n - n0)) ^ 2, 0) + 1 / 12.0::double precision)
                    - 2 * (n0 * ln(n0) + (n - n0) * ln(n - n0))
        end as cost
    from running
),

cut as (
    select
        *,
        first_value(n0) over (partition by scale order by cost, bin) as idle
    from costed
),

-- The levels are the medians of the two parts; their spread is taken from the middle four fifths.
part as (
    select
        *,
        n - idle as loaded,
        min(bin) filter (where n0 >= 0.5 * idle) over whole as base,
        min(bin) filter (where n0 >= 0.1 * idle) over whole as base_tenth,
        min(bin) filter (where n0 >= 0.9 * idle) over whole as base_ninth,
        min(bin) filter (where n0 > idle and n0 >= idle + 0.5 * (n - idle)) over whole as load,
        min(bin) filter (where n0 > idle and n0 >= idle + 0.1 * (n - idle)) over whole as load_tenth,
        min(bin) filter (where n0 > idle and n0 >= idle + 0.9 * (n - idle)) over whole as load_ninth
    from cut
    window whole as (partition by scale)
),

-- Two levels, and not one that was cut in two: they lie at least six spreads apart (2.563 standard deviations of a
-- normal distribution hold its middle four fifths), and the middle fifth between them is nearly empty.
split as (
    select
        scale,
        base,
        load
    from part
    where
        load - base >= 6 * sqrt(
            (((base_ninth - base_tenth + 1) / 2.563) ^ 2 + ((load_ninth - load_tenth + 1) / 2.563) ^ 2) / 2
        )
    group by scale, base, load, idle, loaded
    having
        coalesce(sum(frequency) filter (
            where bin between base + 0.4 * (load - base) and base + 0.6 * (load - base)
        ), 0) <= 1 + 0.1 * least(idle, loaded)
),

two_level as materialized (
    select
        scale.scale,
        scale.line,
        scale.day,
        scale.gap_limit,
        scale.lowest + (split.base + 0.5) / 256 * (scale.highest - scale.lowest) as base_level,
        scale.lowest + (split.load + 0.5) / 256 * (scale.highest - scale.lowest) as load_level,
        scale.lowest + (split.base + 0.5 + (split.load - split.base) / 3) / 256 * (scale.highest - scale.lowest)
            as low_threshold,
        scale.lowest + (split.base + 0.5 + (split.load - split.base) * 2 / 3) / 256 * (scale.highest - scale.lowest)
            as high_threshold
    from split
    inner join scale on split.scale = scale.scale
),

-- A day's readings between the last ones of the day before and the first of the day after; side says which they are.
viewed as (
    {%- for side, shift in [(-1, "+ interval '1 day'"), (0, ''), (1, "- interval '1 day'")] %}
    {%- if not loop.first %}
    union all
    {%- endif %}
    select
        {{ side }} as side,
        two_level.scale,
        two_level.low_threshold as low,
        two_level.high_threshold as high,
        smooth.time,
        smooth.value,
        smooth.level,
        smooth.previous_time,
        smooth.next_time
    from two_level
    inner join smooth
        on
            two_level.line = smooth.line
            and two_level.day = smooth.day {{ shift }}
            {%- if side == -1 %}
            and smooth.time >= smooth.day + interval '1 day' - {{ load_context() }}
            {%- elif side == 1 %}
            and smooth.time < smooth.day + two_level.gap_limit
            {%- endif %}
    {%- endfor %}
),

-- Hysteresis: at two thirds of the way up the load sets in, at one third it is gone; between, it stays as it was.
marked as (
    select
        *,
        max(time) filter (where level >= high) over earlier as last_high,
        max(time) filter (where level <= low) over earlier as last_low
    from viewed
    window earlier as (partition by scale order by time)
),

stated as (
    select
        *,
        case
            when last_high is not null and last_low is not null then last_high > last_low
            when last_high is null and last_low is null then level > (low + high) / 2
            else last_low is null
        end as loaded
    from marked
),

followed as (
    select
        *,
        lag(loaded) over one as loaded_before,
        lag(side) over one as side_before,
        lag(level) over one as level_before,
        lag(value) over one as value_before,
        lag(time) over one as time_before,
        lead(loaded) over one as loaded_after,
        lead(level) over one as level_after
    from stated
    window one as (partition by scale order by time)
),

-- rise_at, fall_at: when the threshold was crossed, on the straight line between the two readings.
crossed as (
    select
        *,
        previous_time is not distinct from time_before as follows,
        case
            when loaded and not loaded_before and previous_time = time_before
                then time - (time - previous_time)
                    * least(greatest((level - high) / nullif(level - level_before, 0), 0), 1)
        end as rise_at,
        case
            when loaded and not loaded_after and next_time is not null
                then time + (next_time - time)
                    * least(greatest((level - low) / nullif(level - level_after, 0), 0), 1)
        end as fall_at
    from followed
),

-- A run: readings in one state, without a gap and on one side of each midnight. integral: trapezoids from reading to
-- reading, and from where the threshold was crossed to the first and from the last reading to there.
numbered as (
    select
        *,
        sum((not (follows and loaded = loaded_before and side = side_before) is true)::integer)
            over (partition by scale order by time) as run,
        case
            when rise_at is not null then (high + value) / 2 * {{ seconds('time - rise_at') }}
            when follows and loaded and loaded_before
                then (value_before + value) / 2 * {{ seconds('time - time_before') }}
            else 0
        end
        + case when fall_at is not null then (value + low) / 2 * {{ seconds('fall_at - time') }} else 0 end as integral
    from crossed
),

run as (
    select
        scale,
        run,
        loaded,
        side,
        min(time) as first_at,
        max(time) as last_at,
        min(rise_at) as rise_at,
        max(fall_at) as fall_at,
        count(*) as sample_count,
        sum(value order by time) as sum_value,
        max(value) as peak,
        sum(integral order by time) as integral,
        -- What a gap before this run adds, should it be bridged.
        max((value_before + value) / 2 * {{ seconds('time - time_before') }}) filter (where not follows) as gap_integral
    from numbered
    group by 1, 2, 3, 4
),

neighbouring as (
    select
        *,
        lag(loaded) over one as loaded_before,
        lag(last_at) over one as last_before,
        lag(fall_at) over one as fall_before,
        lead(rise_at) over one as rise_after
    from run
    window one as (partition by scale order by run)
),

-- A gap that is shorter than every rest of the day lies within one cycle.
rested as (
    select
        *,
        first_at - last_before as pause,
        min(rise_after - fall_before) filter (where not loaded) over (partition by scale) as shortest_rest
    from neighbouring
),

joined as (
    select
        rested.*,
        two_level.line,
        two_level.day,
        two_level.gap_limit,
        two_level.base_level,
        two_level.load_level,
        two_level.low_threshold,
        two_level.high_threshold,
        coalesce(
            rested.loaded_before and rested.pause <= greatest(two_level.gap_limit, rested.shortest_rest), false
        ) as continued
    from rested
    inner join two_level on rested.scale = two_level.scale
    where rested.loaded
),

chained as (
    select
        *,
        sum((not continued)::integer) over (partition by scale order by run) as phase
    from joined
),

counted as (
    select
        *,
        sum(sample_count) over (partition by scale, phase) as phase_count
    from chained
),

-- A single reading under load is no cycle.
phase as (
    select
        line,
        day,
        coalesce((array_agg(rise_at order by run))[1], min(first_at)) as started_at,
        coalesce((array_agg(fall_at order by run desc))[1], max(last_at)) as ended_at,
        min(first_at) as first_reading_at,
        max(last_at) as last_reading_at,
        (array_agg(case when continued then last_before end order by run))[1] as previous_reading_at,
        (array_agg(rise_at order by run))[1] is not null as start_seen,
        (array_agg(fall_at order by run desc))[1] is not null as end_seen,
        sum(sample_count)::bigint as sample_count,
        sum(sum_value order by run) as sum_value,
        max(peak) as peak,
        sum(integral + case when continued and pause > gap_limit then gap_integral else 0 end order by run) as integral,
        coalesce(max(pause) filter (where continued and pause > gap_limit), interval '0 seconds') as longest_gap,
        base_level,
        load_level,
        low_threshold,
        high_threshold
    from counted
    where side = 0 and phase_count > 1
    group by line, day, scale, phase, base_level, load_level, low_threshold, high_threshold
)

select
    known.series_id,
    known.unit,
    phase.day as bucket,
    phase.started_at,
    phase.ended_at,
    phase.first_reading_at,
    phase.last_reading_at,
    phase.previous_reading_at,
    phase.start_seen,
    phase.end_seen,
    phase.sample_count,
    phase.sum_value,
    phase.peak,
    phase.integral,
    phase.longest_gap,
    phase.base_level,
    phase.load_level,
    phase.low_threshold,
    phase.high_threshold
from phase
inner join (select distinct line, series_id, unit from version) as known on phase.line = known.line
