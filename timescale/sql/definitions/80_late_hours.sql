comment on table telemetry.late_hour is
'One row per series and hour that got readings more than two hours after its end: incremental builds recompute it.';
comment on column telemetry.late_hour.series_id is 'The measured series: a row of telemetry.series.';
comment on column telemetry.late_hour.bucket is 'Start of the hour, in UTC.';
comment on column telemetry.late_hour.noted_at is
'When late readings were last stored in the hour, to about a minute; written in the same transaction.';

comment on table telemetry.live_series is
'One row per series that has had readings from a broker (sources mqtt and kafka): only these can be silent.';
comment on column telemetry.live_series.series_id is 'The measured series: a row of telemetry.series.';
comment on column telemetry.live_series.last_arrived_at is 'When such readings last arrived, to about a day.';
