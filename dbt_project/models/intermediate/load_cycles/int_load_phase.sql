{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_changed_load_phases() }} set local work_mem = '128MB'",
    indexes=[{'columns': ['series_id', 'bucket', 'started_at'], 'unique': true}],
) }}

-- The phases of a day follow from the readings of that day and of the day before alone, so that any days can be
-- computed again separately: docs/decisions/0009-load-cycles-and-anomalies.md. The models before this one are
-- ephemeral: all of them are one statement. No step joins a count of another step: the planner can't estimate the
-- number of rows of a step and would choose its slowest join.
with neighbouring_runs as (
    select
        *,
        lag(is_loaded) over in_order as was_loaded,
        lag(last_at) over in_order as last_before,
        lag(fall_at) over in_order as fall_before,
        lead(rise_at) over in_order as rise_after
    from {{ ref('int_load_run') }}
    window in_order as (partition by line_day order by run)
),

-- A gap that is shorter than every rest of the day lies within one cycle.
with_shortest_rest as (
    select
        *,
        first_at - last_before as pause,
        min(rise_after - fall_before) filter (where not is_loaded) over (partition by line_day) as shortest_rest
    from neighbouring_runs
),

loaded_runs as (
    select
        run.*,
        level.line,
        level.day,
        level.gap_limit,
        level.base_level,
        level.load_level,
        level.low_threshold,
        level.high_threshold,
        coalesce(
            run.was_loaded and run.pause <= greatest(level.gap_limit, run.shortest_rest), false
        ) as is_continued
    from with_shortest_rest as run
    inner join {{ ref('int_load_level') }} as level on run.line_day = level.line_day
    where run.is_loaded
),

numbered as (
    select
        *,
        sum((not is_continued)::integer) over (partition by line_day order by run) as phase
    from loaded_runs
),

counted as (
    select
        *,
        sum(sample_count) over (partition by line_day, phase) as phase_count
    from numbered
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
        (array_agg(case when is_continued then last_before end order by run))[1] as previous_reading_at,
        (array_agg(rise_at order by run))[1] is not null as start_seen,
        (array_agg(fall_at order by run desc))[1] is not null as end_seen,
        sum(sample_count)::bigint as sample_count,
        sum(sum_value order by run) as sum_value,
        max(peak) as peak,
        sum(integral + case when is_continued and pause > gap_limit then gap_integral else 0 end order by run) as integral,
        coalesce(max(pause) filter (where is_continued and pause > gap_limit), interval '0 seconds') as longest_gap,
        base_level,
        load_level,
        low_threshold,
        high_threshold
    from counted
    where day_offset = 0 and phase_count > 1
    group by line, day, line_day, phase, base_level, load_level, low_threshold, high_threshold
)

select
    line.series_id,
    line.unit,
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
inner join (select distinct line, series_id, unit from {{ ref('int_load_line') }}) as line on phase.line = line.line
