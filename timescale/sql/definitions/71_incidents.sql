comment on table quality.incident is
'One row a time that something was not as it should be: from the first scan or task that saw it to its recovery.';
comment on column quality.incident.id is 'Number of the row.';
comment on column quality.incident.key is 'What it is about, the same each time; one key has one open row at most.';
comment on column quality.incident.title is 'What is wrong, for people.';
comment on column quality.incident.check_name is 'Name of the check; null: about no single check.';
comment on column quality.incident.sensor_id is 'The sensor concerned; null: about none.';
comment on column quality.incident.measured_value is 'What was measured last, for people; null: nothing.';
comment on column quality.incident.threshold is 'What would have passed, in words.';
comment on column quality.incident.link is 'Where to look: the address of a page; null: none is known.';
comment on column quality.incident.opened_at is 'When it was first seen.';
comment on column quality.incident.last_seen_at is 'When it was last seen.';
comment on column quality.incident.closed_at is 'When it was seen to be over; null: it is open.';
comment on column quality.incident.told_at is 'When people were last told of it; null: not yet.';
comment on column quality.incident.untold is 'The notifiers that have yet to tell of it.';
comment on column quality.incident.recovery_untold is 'The notifiers that have yet to tell that it is over.';
