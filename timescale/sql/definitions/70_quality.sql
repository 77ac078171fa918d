comment on schema quality is 'Results of the quality scans.';

comment on table quality.check_result is 'One row per check and scan: its measured value and whether it passed.';
comment on column quality.check_result.id is 'Number of the row.';
comment on column quality.check_result.scan_id is 'The scan: the same for all results of one run.';
comment on column quality.check_result.checked_at is 'When the scan began.';
comment on column quality.check_result.contract is 'Name of the contract with the check.';
comment on column quality.check_result.dataset is 'The checked table or view, with its schema.';
comment on column quality.check_result.column_name is 'The checked column; null: the check covers whole rows.';
comment on column quality.check_result.check_name is 'Name of the check, for people.';
comment on column quality.check_result.check_type is 'Kind of check, such as missing or freshness.';
comment on column quality.check_result.outcome is
'passed, failed, warned, nothing to check (no readings), or not evaluated: and the reason.';
comment on column quality.check_result.measured_value is 'Measured value, in the unit of the check; null: none.';
comment on column quality.check_result.threshold is 'Values that pass, in words.';
comment on column quality.check_result.sensor_id is 'The sensor of the result; null: all sensors.';
comment on column quality.check_result.series_id is 'The series of the result; null: all series.';
comment on column quality.check_result.duration_seconds is
'Duration of its query in seconds, shared by checks that use the same query; null: unknown.';
