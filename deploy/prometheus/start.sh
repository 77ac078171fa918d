#!/bin/sh
# Adds the scrape job of the HTTP interface, which needs a token, to the configuration and runs Prometheus.
set -eu
umask 077
if [ -z "${ACCESS_METRICS_SECRET:-}" ]; then
    echo "prometheus: ACCESS_METRICS_SECRET is missing: run make secrets" >&2
    exit 2
fi
cp /etc/prometheus/prometheus.yml /etc/prometheus/alerts.yml /tmp/
cat >>/tmp/prometheus.yml <<EOF
  - job_name: access
    authorization: {credentials: "$ACCESS_METRICS_SECRET"}
    static_configs:
      - targets: [access:8080]
EOF
unset ACCESS_METRICS_SECRET
exec /bin/prometheus --config.file=/tmp/prometheus.yml "$@"
