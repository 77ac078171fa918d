{#- Steps of int_load_phase, after load_levels: run, readings of a day that follow each other in one state. -#}
{% macro load_runs() -%}
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
)
{%- endmacro %}
