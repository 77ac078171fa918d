{#- For the pre-hook of fct_interval_summary: delete_changed_buckets by day, since no interval crosses midnight, and deletes
    every row of a series whose interval setting has changed. One row per series is read: all of them have the same
    interval. -#}
{% macro delete_changed_summaries() %}
    {%- if is_incremental() %}
{{ create_changed_hours('day') }}
delete from {{ this }} where bucket >= {{ changed_from('day') }};
delete from {{ this }} as old
using (select distinct series_id, {{ bucket_of('bucket', 'day') }} as day from changed_hour) as changed
where
    old.series_id = changed.series_id
    and old.bucket >= changed.day
    and old.bucket < changed.day + interval '{{ bucket_length("day") }}';
delete from {{ this }} as old
using (
    select series.series_id
    from {{ ref('stg_telemetry__series') }} as series
    cross join lateral (
        select summary.interval_minutes
        from {{ this }} as summary
        where summary.series_id = series.series_id
        order by summary.bucket
        limit 1
    ) as any_row
    where any_row.interval_minutes <> {{ summary_minutes('series.quantity') }}
) as changed
where old.series_id = changed.series_id;
    {%- endif %}
{% endmacro %}
