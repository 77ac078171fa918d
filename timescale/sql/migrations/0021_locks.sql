-- Locks that only our roles can take: any login can take an advisory lock. `timescale migrate` creates telemetry.lock
-- before the first migration, and holds its row "migration".
create table if not exists telemetry.lock (
    name text primary key,
    holder integer,
    holder_started timestamptz
);

create table quality.lock (
    name text primary key,
    holder integer
);
