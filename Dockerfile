# The images of the product, one target each:
#   collector  collector run, simulator, timescale (migrate, logins, status): small, without numpy and pyarrow
#   services   collector, plus files, HTTP and Kafka: archive, load, forward, access
#   airflow    Airflow with dbt, Soda and the DAGs
# docker compose builds them. To build through company mirrors, set in .env or with --build-arg:
#   BASE_IMAGE                any Debian or Ubuntu whose python3 is 3.11 or newer
#   APT_MIRROR, APT_OPTIONS   replacement for the package server of the base image; additional options of apt-get
#   PYTHON_INDEX              replacement for PyPI: the same locked versions, checked against the hashes in uv.lock
#   PIP_OPTIONS               additional options of the one `pip install` (of uv)
# Certificates in deploy/ca/*.crt are trusted during the build and in the images.

ARG BASE_IMAGE=debian:bookworm-20260824-slim

FROM ${BASE_IMAGE} AS python
ARG APT_MIRROR=
ARG APT_OPTIONS=
COPY deploy/ca/ /usr/local/share/ca-certificates/
RUN set -eu; \
    if [ -n "$APT_MIRROR" ]; then \
        sed -i -E "s|https?://[^/ ]+|$APT_MIRROR|" $(find /etc/apt/ -name "*.list" -o -name "*.sources"); \
    fi; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get $APT_OPTIONS update -q; \
    apt-get $APT_OPTIONS install -q -y --no-install-recommends python3 ca-certificates; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*; \
    groupadd --gid 10001 warehouse; \
    useradd --uid 10001 --gid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin warehouse; \
    install -d -o warehouse -g warehouse /var/lib/archive /var/lib/airflow /var/lib/access /srv/catalog
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1

FROM python AS build
ARG APT_OPTIONS=
ARG PYTHON_INDEX=
ARG PIP_OPTIONS=
ARG UV_VERSION=0.13.9
RUN set -eu; \
    apt-get $APT_OPTIONS update -q; \
    apt-get $APT_OPTIONS install -q -y --no-install-recommends binutils python3-venv; \
    rm -rf /var/lib/apt/lists/*; \
    python3 -m venv /opt/uv; \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt /opt/uv/bin/pip install --quiet --no-cache-dir \
        --disable-pip-version-check ${PYTHON_INDEX:+--index-url "$PYTHON_INDEX"} $PIP_OPTIONS uv==$UV_VERSION
ENV UV_CACHE_DIR=/var/cache/uv \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=true
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY deploy/install.sh /usr/local/bin/

# Dependencies first, because they change rarely; the product's code last.
FROM build AS collector-venv
ARG PYTHON_INDEX=
RUN --mount=type=cache,target=/var/cache/uv install.sh dependencies \
    --no-install-package numpy --no-install-package pyarrow
COPY . .
RUN --mount=type=cache,target=/var/cache/uv install.sh product

FROM build AS services-venv
ARG PYTHON_INDEX=
RUN --mount=type=cache,target=/var/cache/uv install.sh dependencies --extra access --extra kafka
COPY . .
RUN --mount=type=cache,target=/var/cache/uv install.sh product

FROM build AS airflow-venv
ARG PYTHON_INDEX=
RUN --mount=type=cache,target=/var/cache/uv install.sh dependencies --extra airflow --extra marts --extra quality
COPY . .
RUN --mount=type=cache,target=/var/cache/uv install.sh product

FROM python AS runtime
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="sensor-warehouse" \
      org.opencontainers.image.description="A warehouse for sensor readings: MQTT in, SQL out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY deploy/healthy.py /usr/local/bin/healthy
WORKDIR /app
COPY sensors.json ./
USER warehouse

FROM runtime AS collector
COPY --from=collector-venv /opt/venv /opt/venv
ENV COLLECTOR_METRICS_ADDRESS=0.0.0.0 \
    COLLECTOR_METRICS_PORT=9101
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["healthy", "http://127.0.0.1:9101/live"]
CMD ["collector", "run"]

FROM runtime AS services
COPY --from=services-venv /opt/venv /opt/venv
COPY deploy/access/start.py /usr/local/bin/start-access
ENV COLLECTOR_METRICS_ADDRESS=0.0.0.0 \
    ARCHIVE_METRICS_PORT=9102 \
    KAFKA_METRICS_PORT=9103 \
    ARCHIVE_DIRECTORY=/var/lib/archive \
    ACCESS_ADDRESS=0.0.0.0 \
    ACCESS_PORT=8080 \
    ACCESS_TOKENS_FILE=/var/lib/access/tokens.json
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["healthy", "http://127.0.0.1:9102/live"]
CMD ["collector", "archive"]

FROM runtime AS airflow
COPY --from=airflow-venv /opt/venv /opt/venv
COPY airflow airflow
COPY dbt_project dbt_project
COPY deploy/airflow/trigger_first_build.py /usr/local/bin/trigger-first-build
COPY deploy/airflow/prepare.sh /usr/local/bin/prepare-airflow
ENV HOME=/var/lib/airflow \
    AIRFLOW_HOME=/var/lib/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/airflow/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/app/airflow/plugins
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=3 \
    CMD ["healthy", "http://127.0.0.1:8080/api/v2/monitor/health"]
CMD ["airflow", "api-server"]
