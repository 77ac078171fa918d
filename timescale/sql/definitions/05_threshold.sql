-- The limits behind "silent", "late" and "flat line", each stated once: views of the schema quality, contracts, alerts
-- and dbt macros read them here. A view of constants, so that the planner inserts them into every query that joins it.
create or replace view telemetry.threshold as
select
    60::double precision as silent_minimum_seconds,
    3::double precision as silent_intervals,
    300::double precision as late_after_seconds,
    interval '2 hours' as late_hour_after,
    interval '3 hours' as closed_after,
    600::double precision as flat_minimum_seconds,
    6::double precision as flat_intervals,
    2::double precision as flat_times_usual,
    24 as flat_history_hours,
    interval '24 hours' as flat_gap,
    interval '672 hours' as usual_history;

comment on view telemetry.threshold is
'One row: the limits from which on a sensor is silent, a reading is late or a line is flat.';
comment on column telemetry.threshold.silent_minimum_seconds is
'A series is silent after silent_intervals of its intervals without a reading, but not before this many seconds.';
comment on column telemetry.threshold.silent_intervals is 'See silent_minimum_seconds.';
comment on column telemetry.threshold.late_after_seconds is
'A reading is late if it is received more than this many seconds after its time.';
comment on column telemetry.threshold.late_hour_after is
'The collector notes an hour in telemetry.late_hour if it gets readings more than this long after its end.';
comment on column telemetry.threshold.closed_after is
'All levels agree on a bucket this long after its end: late_hour_after, and an hour for open transactions.';
comment on column telemetry.threshold.flat_minimum_seconds is
'A line is flat after flat_intervals intervals without a change, but not before this many seconds.';
comment on column telemetry.threshold.flat_intervals is 'See flat_minimum_seconds.';
comment on column telemetry.threshold.flat_times_usual is
'A line is flat only after more than this many times its longest time without a change in usual_history.';
comment on column telemetry.threshold.flat_history_hours is
'A flat line is judged only if at least this many hours before it have readings.';
comment on column telemetry.threshold.flat_gap is 'A gap longer than this ends a flat line.';
comment on column telemetry.threshold.usual_history is 'How far back a flat line, a drift or an anomaly is compared.';
