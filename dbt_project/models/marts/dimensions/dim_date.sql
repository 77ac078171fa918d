-- From the first year for which the registry accepts readings to the end of next year.
with bounds as (
    select
        make_date(least(2000, extract(year from min(since) at time zone 'UTC')::integer), 1, 1) as first_day,
        make_date(extract(year from now() at time zone 'UTC')::integer + 1, 12, 31) as last_day
    from {{ ref('dim_sensor_history') }}
)

select
    days.day::date as day,
    days.day at time zone 'UTC' as starts_at,
    (days.day + interval '1 day') at time zone 'UTC' as ends_at,
    extract(year from days.day)::integer as year,
    extract(quarter from days.day)::integer as quarter,
    extract(month from days.day)::integer as month,
    to_char(days.day, 'FMMonth') as month_name,
    date_trunc('month', days.day)::date as first_of_month,
    extract(day from days.day)::integer as day_of_month,
    extract(doy from days.day)::integer as day_of_year,
    extract(isoyear from days.day)::integer as iso_year,
    extract(week from days.day)::integer as iso_week,
    extract(isodow from days.day)::integer as iso_weekday,
    to_char(days.day, 'FMDay') as weekday_name,
    extract(isodow from days.day) in (6, 7) as is_weekend
from bounds
-- Timestamps without a zone: a day always has 24 hours.
cross join lateral generate_series(bounds.first_day::timestamp, bounds.last_day::timestamp, interval '1 day') as days (day)
