-- Readings that retention has dropped are counted, so that the accounts can be compared with the table.
alter table telemetry.retention add column dropped_readings bigint not null default 0 check (dropped_readings >= 0);

-- The first has no use any more, the second another result.
drop function if exists telemetry.droppable_before();
drop function if exists telemetry.retention_gate(boolean);
