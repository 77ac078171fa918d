alter table telemetry.quarantine add column file_options text;

-- For a load of the same rows again; a topic and a payload may be longer than an index row.
create index quarantine_of_files on telemetry.quarantine (md5(topic || encode(payload, 'hex')))
where source = 'file' and replayed_at is null and discarded_at is null;
