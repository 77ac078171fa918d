{{ config(materialized='ephemeral') }}

-- The readings of a day, with the last ones of the day before and the first ones of the day after; day_offset says to
-- which of the three days a reading belongs.
with context as (
    {%- for day_offset, shift in [(-1, "+ interval '1 day'"), (0, ''), (1, "- interval '1 day'")] %}
    {%- if not loop.first %}
    union all
    {%- endif %}
    select
        {{ day_offset }} as day_offset,
        level.line_day,
        level.low_threshold,
        level.high_threshold,
        reading.time,
        reading.value,
        reading.smoothed_value,
        reading.previous_time,
        reading.next_time
    from {{ ref('int_load_level') }} as level
    inner join {{ ref('int_load_reading') }} as reading
        on
            level.line = reading.line
            and level.day = reading.day {{ shift }}
            {%- if day_offset == -1 %}
            and reading.time >= reading.day + interval '1 day' - {{ load_context() }}
            {%- elif day_offset == 1 %}
            and reading.time < reading.day + level.gap_limit
            {%- endif %}
    {%- endfor %}
),

-- Hysteresis: the load sets in at two thirds of the way up and is gone at one third; in between, the state stays.
last_crossings as (
    select
        *,
        max(time) filter (where smoothed_value >= high_threshold) over up_to_now as last_high,
        max(time) filter (where smoothed_value <= low_threshold) over up_to_now as last_low
    from context
    window up_to_now as (partition by line_day order by time)
),

states as (
    select
        *,
        case
            when last_high is not null and last_low is not null then last_high > last_low
            when last_high is null and last_low is null then smoothed_value > (low_threshold + high_threshold) / 2
            else last_low is null
        end as is_loaded
    from last_crossings
),

with_neighbours as (
    select
        *,
        lag(is_loaded) over in_order as was_loaded,
        lag(day_offset) over in_order as day_offset_before,
        lag(smoothed_value) over in_order as smoothed_before,
        lag(value) over in_order as value_before,
        lag(time) over in_order as time_before,
        lead(is_loaded) over in_order as is_loaded_after,
        lead(smoothed_value) over in_order as smoothed_after
    from states
    window in_order as (partition by line_day order by time)
),

-- rise_at, fall_at: when the threshold was crossed, on the straight line between the two readings.
edges as (
    select
        *,
        previous_time is not distinct from time_before as is_adjacent,
        case
            when is_loaded and not was_loaded and previous_time = time_before
                then time - (time - previous_time)
                    * least(greatest((smoothed_value - high_threshold) / nullif(smoothed_value - smoothed_before, 0), 0), 1)
        end as rise_at,
        case
            when is_loaded and not is_loaded_after and next_time is not null
                then time + (next_time - time)
                    * least(greatest((smoothed_value - low_threshold) / nullif(smoothed_value - smoothed_after, 0), 0), 1)
        end as fall_at
    from with_neighbours
),

-- integral: trapezoids from reading to reading, from where the threshold was crossed to the first reading and from the
-- last reading to where it was crossed.
numbered as (
    select
        *,
        sum((not (is_adjacent and is_loaded = was_loaded and day_offset = day_offset_before) is true)::integer)
            over (partition by line_day order by time) as run,
        case
            when rise_at is not null then (high_threshold + value) / 2 * {{ seconds('time - rise_at') }}
            when is_adjacent and is_loaded and was_loaded
                then (value_before + value) / 2 * {{ seconds('time - time_before') }}
            else 0
        end
        + case when fall_at is not null then (value + low_threshold) / 2 * {{ seconds('fall_at - time') }} else 0 end
            as integral
    from edges
)

select
    line_day,
    run,
    is_loaded,
    day_offset,
    min(time) as first_at,
    max(time) as last_at,
    min(rise_at) as rise_at,
    max(fall_at) as fall_at,
    count(*) as sample_count,
    sum(value order by time) as sum_value,
    max(value) as peak,
    sum(integral order by time) as integral,
    -- Added to the integral if the gap before this run is bridged.
    max((value_before + value) / 2 * {{ seconds('time - time_before') }}) filter (where not is_adjacent) as gap_integral
from numbered
group by 1, 2, 3, 4
