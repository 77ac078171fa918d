comment on view telemetry.rollup_lag is
'One row per level of the stored means: how far it is behind the newest reading. Queries are correct anyway.';
comment on column telemetry.rollup_lag.level is 'Length of the windows: 1m, 1h or 1d.';
comment on column telemetry.rollup_lag.lag_seconds is
'Seconds from the end of the stored means to the newest reading; null: there is no reading.';
