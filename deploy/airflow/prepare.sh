#!/bin/sh
# Prepares Airflow before its start: metadata tables, password of the user admin, pool, and the manifest from which the
# tasks of build_marts are generated. Safe to repeat.
set -eu
umask 077
if [ "${#AIRFLOW_PASSWORD}" -lt 12 ]; then
    echo "airflow: AIRFLOW_PASSWORD is missing or shorter than 12 characters: run make secrets" >&2
    exit 2
fi
mkdir -p "$AIRFLOW_HOME/logs" "$DBT_TARGET_PATH" "$DBT_LOG_PATH"
# The same options and login as in a build by Cosmos, so that the build reuses the parsed project.
PGUSER=dbt PGPASSWORD=$PG_DBT_PASSWORD dbt parse --project-dir /app/dbt_project --profiles-dir /app/dbt_project --profile sensor_warehouse --target warehouse \
    --no-version-check &
airflow db migrate
airflow pools import /app/airflow/pools.json
wait $!
cp "$DBT_TARGET_PATH/manifest.json" "$MARTS_MANIFEST.part"
mv "$MARTS_MANIFEST.part" "$MARTS_MANIFEST"
python3 -c 'import json, os; print(json.dumps({"admin": os.environ["AIRFLOW_PASSWORD"]}))' >"$AIRFLOW_HOME/passwords.part"
mv "$AIRFLOW_HOME/passwords.part" "$AIRFLOW_HOME/passwords.json"
