create table telemetry.retention (
    keep_days integer check (keep_days >= 2),
    dropped_before timestamptz,
    only_row boolean primary key default true check (only_row)
);

insert into telemetry.retention default values;
