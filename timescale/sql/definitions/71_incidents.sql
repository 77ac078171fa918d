comment on table quality.incident is
'One row per incident: a failing check or task, from the first scan or run that found it to its recovery.';
comment on column quality.incident.id is 'Number of the row.';
comment on column quality.incident.key is 'Identity of the problem; at most one open row per key.';
comment on column quality.incident.title is 'Description of the problem, for people.';
comment on column quality.incident.check_name is 'Name of the check; null: no single check.';
comment on column quality.incident.sensor_id is 'The affected sensor; null: none.';
comment on column quality.incident.measured_value is 'Last measured value, for people; null: none.';
comment on column quality.incident.threshold is 'Values that pass, in words.';
comment on column quality.incident.link is 'Address of a page with details; null: none.';
comment on column quality.incident.opened_at is 'When it was first seen.';
comment on column quality.incident.last_seen_at is 'When it was last seen.';
comment on column quality.incident.closed_at is 'When its recovery was seen; null: it is open.';
comment on column quality.incident.told_at is 'When it was last notified; null: not yet.';
comment on column quality.incident.untold is 'Notifiers that have not yet sent the notification.';
comment on column quality.incident.recovery_untold is 'Notifiers that have not yet sent the recovery.';
