-- Repeated not_finite values of a series share a quarantine row per hour.
alter table telemetry.quarantine add column repeats integer not null default 0;

alter table telemetry.quarantine add column last_received_at timestamptz;

-- By a hash: a topic can be longer than an index takes.
create index quarantine_repeated on telemetry.quarantine (md5(topic), received_at)
where reason = 'not_finite' and replayed_at is null and discarded_at is null;
