-- A lock is a row that a transaction selects for update: that needs a privilege, which an advisory lock does not.
insert into telemetry.lock (name) values ('migration'), ('registry'), ('quarantine'), ('rollups')
on conflict (name) do nothing;

insert into quality.lock (name) values ('notifications'), ('grants')
on conflict (name) do nothing;

comment on table telemetry.lock is
'One row per lock of collectors and of the owner, who select it for update; only their roles can.';
comment on column telemetry.lock.name is
'migration, registry (sensors and series), quarantine (replays) or rollups (means and retention).';
comment on column telemetry.lock.holder is
'Process id of the session that refreshes means or drops readings, which take several transactions; null: none.';
comment on column telemetry.lock.holder_started is 'Start of that session: without it a later process may have the id.';

comment on table quality.lock is
'One row per lock of scans and builds, who select it for update; only their roles can.';
comment on column quality.lock.name is 'notifications, or grants (of a build to its readers).';
comment on column quality.lock.holder is 'Always null: the privilege on this column is that to take the lock.';
