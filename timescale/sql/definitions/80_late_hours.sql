comment on table telemetry.late_hour is
'One row a series and hour that got readings more than two hours after its end: what an incremental build does again.';
comment on column telemetry.late_hour.series_id is 'What was measured: a row of telemetry.series.';
comment on column telemetry.late_hour.bucket is 'Start of the hour, in UTC.';
comment on column telemetry.late_hour.noted_at is
'When late readings were last written to it, give or take a minute; in the transaction that stored them.';
