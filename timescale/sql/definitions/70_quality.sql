comment on schema quality is 'Results of the quality scans.';

comment on table quality.check_result is 'One row a check and scan: what was measured and whether it passed.';
comment on column quality.check_result.id is 'Number of the row.';
comment on column quality.check_result.scan_id is 'The scan: all results of one run have the same.';
comment on column quality.check_result.checked_at is 'When the scan began.';
comment on column quality.check_result.contract is 'Name of the contract that the check stands in.';
comment on column quality.check_result.dataset is 'The checked table or view, with its schema.';
comment on column quality.check_result.column_name is 'The checked column; null: the check is about whole rows.';
comment on column quality.check_result.check_name is 'Name of the check, for people.';
comment on column quality.check_result.check_type is 'Kind of check, such as missing or freshness.';
comment on column quality.check_result.outcome is 'passed, failed, warned, or not evaluated with the reason.';
comment on column quality.check_result.measured_value is 'What was measured, in the unit of the check; null: nothing.';
comment on column quality.check_result.threshold is 'What would have passed, in words.';
comment on column quality.check_result.sensor_id is 'The sensor that the result is about; null: about all.';
comment on column quality.check_result.series_id is 'The series that the result is about; null: about all.';
comment on column quality.check_result.duration_seconds is
'How long its query took, in seconds; checks that one query answers share it; null: not known.';
