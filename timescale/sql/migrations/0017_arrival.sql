alter table telemetry.quarantine add column waited interval not null default '0';

-- For the archive, which settles the rows of its messages; a topic and a payload may be longer than an index row.
create index quarantine_arrival_unknown on telemetry.quarantine (md5(topic || encode(payload, 'hex')))
where reason = 'arrival_unknown' and replayed_at is null and discarded_at is null;
