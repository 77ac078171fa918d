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
{{ load_signal() }},

{{ load_levels() }},

{{ load_runs() }},

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
