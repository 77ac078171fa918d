alter table telemetry.sensor
add column device text,
add column discovered boolean not null default false;
