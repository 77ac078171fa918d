#!/bin/sh
# Runs once, when the database is made: the login that owns the warehouse and migrates it. It is no superuser; it may make
# roles and databases, for the logins of the services (`timescale logins`).
set -eu
: "${WAREHOUSE_OWNER:?}" "${WAREHOUSE_PASSWORD:?PGPASSWORD is missing: run make secrets}"
# From the environment: arguments of a process can be read by others.
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv owner WAREHOUSE_OWNER
\getenv password WAREHOUSE_PASSWORD
\getenv database POSTGRES_DB
create role :"owner" login createrole createdb password :'password';
alter database :"database" owner to :"owner";
SQL
