comment on view telemetry.rollup_lag is
'One row a level of the stored means: how far they are behind the newest reading. Queries are right all the same.';
comment on column telemetry.rollup_lag.level is 'Length of the windows: 1m, 1h or 1d.';
comment on column telemetry.rollup_lag.lag_seconds is
'Seconds from the end of what is stored to the newest reading; null: there is no reading.';
