#!/bin/sh
# Runs once, when the database is created: creates the login that owns and migrates the warehouse. It is not a superuser;
# it may create roles and databases, for the service logins (`timescale logins`).
set -eu
: "${WAREHOUSE_OWNER:?}" "${WAREHOUSE_PASSWORD:?PGPASSWORD is missing: run make secrets}"
# Passed in the environment: other users can read the arguments of a process.
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv owner WAREHOUSE_OWNER
\getenv password WAREHOUSE_PASSWORD
\getenv database POSTGRES_DB
create role :"owner" login createrole createdb password :'password';
alter database :"database" owner to :"owner";
SQL
