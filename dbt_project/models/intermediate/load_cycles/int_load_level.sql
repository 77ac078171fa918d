{{ config(materialized='ephemeral') }}

-- The range of the smoothed values of each day and the day before, which is cut into 256 bins.
with day_range as (
    select
        line,
        day,
        max(gap_limit) as gap_limit,
        min(smoothed_value) as lowest,
        max(smoothed_value) as highest
    from {{ ref('int_load_reading') }}
    group by line, day
),

with_day_before as (
    select
        *,
        lag(day) over in_order = day - interval '1 day' as has_day_before,
        lag(lowest) over in_order as lowest_before,
        lag(highest) over in_order as highest_before
    from day_range
    window in_order as (partition by line order by day)
),

line_day as materialized (
    select
        row_number() over (order by ranges.line, ranges.day) as line_day,
        ranges.line,
        ranges.day,
        ranges.gap_limit,
        case when ranges.has_day_before then least(ranges.lowest, ranges.lowest_before) else ranges.lowest end as lowest,
        case when ranges.has_day_before then greatest(ranges.highest, ranges.highest_before) else ranges.highest end
            as highest
    from with_day_before as ranges
    inner join (select distinct line, series_id from {{ ref('int_load_line') }}) as line on ranges.line = line.line
    inner join {{ ref('int_load_build_days') }} as build on line.series_id = build.series_id
    where build.days @> ranges.day
),

binned as (
    {%- for shift in ['', "+ interval '1 day'"] %}
    {%- if not loop.first %}
    union all
    {%- endif %}
    select
        line_day.line_day,
        line_day.lowest,
        line_day.highest,
        reading.smoothed_value
    from line_day
    inner join {{ ref('int_load_reading') }} as reading
        on line_day.line = reading.line and line_day.day = reading.day {{ shift }}
    where line_day.highest > line_day.lowest
    {%- endfor %}
),

histogram as (
    select
        line_day,
        least(floor((smoothed_value - lowest) / (highest - lowest) * 256), 255) as bin,
        count(*)::double precision as frequency
    from binned
    group by 1, 2
),

-- Count, sum and sum of squares of the bins up to each bin (below_…) and of all bins.
moments as (
    select
        *,
        sum(frequency) over up_to_bin as below_count,
        sum(frequency * bin) over up_to_bin as below_sum,
        sum(frequency * bin * bin) over up_to_bin as below_squares,
        sum(frequency) over all_bins as all_count,
        sum(frequency * bin) over all_bins as all_sum,
        sum(frequency * bin * bin) over all_bins as all_squares
    from histogram
    window
        up_to_bin as (partition by line_day order by bin),
        all_bins as (partition by line_day)
),

-- The cost of cutting the histogram in two after each bin: minimum error thresholding after Kittler and Illingworth
-- (Pattern Recognition 19, 1986), which unlike Otsu's method also finds a level that is rarely taken. 1/12: the
-- variance within a bin.
costs as (
    select
        *,
        case
            when all_count > below_count
                then
                    below_count
                    * ln(
                        greatest(below_squares / below_count - (below_sum / below_count) ^ 2, 0) + 1 / 12.0::double precision
                    )
                    + (all_count - below_count)
                    * ln(
                        greatest(
                            (all_squares - below_squares) / (all_count - below_count)
                            - ((all_sum - below_sum) / (all_count - below_count)) ^ 2,
                            0
                        )
                        + 1 / 12.0::double precision
                    )
                    - 2 * (
                        below_count * ln(below_count) + (all_count - below_count) * ln(all_count - below_count)
                    )
        end as cost
    from moments
),

cheapest_cut as (
    select
        *,
        first_value(below_count) over (partition by line_day order by cost, bin) as idle_count
    from costs
),

-- The levels are the medians of the two parts; their spread is taken from the middle four fifths.
part_quantiles as (
    select
        *,
        all_count - idle_count as loaded_count,
        min(bin) filter (where below_count >= 0.5 * idle_count) over all_bins as idle_median,
        min(bin) filter (where below_count >= 0.1 * idle_count) over all_bins as idle_p10,
        min(bin) filter (where below_count >= 0.9 * idle_count) over all_bins as idle_p90,
        min(bin) filter (
            where below_count > idle_count and below_count >= idle_count + 0.5 * (all_count - idle_count)
        ) over all_bins as load_median,
        min(bin) filter (
            where below_count > idle_count and below_count >= idle_count + 0.1 * (all_count - idle_count)
        ) over all_bins as load_p10,
        min(bin) filter (
            where below_count > idle_count and below_count >= idle_count + 0.9 * (all_count - idle_count)
        ) over all_bins as load_p90
    from cheapest_cut
    window all_bins as (partition by line_day)
),

-- Two levels, not one level that was cut in two: the medians lie at least six spreads apart (2.563 standard deviations
-- of a normal distribution contain its middle four fifths), and the middle fifth between them is nearly empty.
two_levels as (
    select
        line_day,
        idle_median,
        load_median
    from part_quantiles
    where
        load_median - idle_median >= 6 * sqrt(
            (((idle_p90 - idle_p10 + 1) / 2.563) ^ 2 + ((load_p90 - load_p10 + 1) / 2.563) ^ 2) / 2
        )
    group by line_day, idle_median, load_median, idle_count, loaded_count
    having
        coalesce(sum(frequency) filter (
            where
            bin between idle_median + 0.4 * (load_median - idle_median)
            and idle_median + 0.6 * (load_median - idle_median)
        ), 0) <= 1 + 0.1 * least(idle_count, loaded_count)
)

select
    line_day.line_day,
    line_day.line,
    line_day.day,
    line_day.gap_limit,
    line_day.lowest + (two_levels.idle_median + 0.5) / 256 * (line_day.highest - line_day.lowest) as base_level,
    line_day.lowest + (two_levels.load_median + 0.5) / 256 * (line_day.highest - line_day.lowest) as load_level,
    line_day.lowest
    + (two_levels.idle_median + 0.5 + (two_levels.load_median - two_levels.idle_median) / 3)
    / 256 * (line_day.highest - line_day.lowest) as low_threshold,
    line_day.lowest
    + (two_levels.idle_median + 0.5 + (two_levels.load_median - two_levels.idle_median) * 2 / 3)
    / 256 * (line_day.highest - line_day.lowest) as high_threshold
from two_levels
inner join line_day on two_levels.line_day = line_day.line_day
