{#- Steps of int_load_phase, after load_signal: two_level, the days of a line that have an idle level and one under load,
    with the thresholds between them. -#}
{% macro load_levels() -%}
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
    {%- for shift in ['', "+ interval '1 day'"] %}
    {%- if not loop.first %}
    union all
    {%- endif %}
    select
        scale.scale,
        scale.lowest,
        scale.highest,
        smooth.level
    from scale
    inner join smooth on scale.line = smooth.line and scale.day = smooth.day {{ shift }}
    where scale.highest > scale.lowest
    {%- endfor %}
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
)
{%- endmacro %}
