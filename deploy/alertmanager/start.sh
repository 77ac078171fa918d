#!/bin/sh
# Writes Alertmanager's configuration from the environment, which Alertmanager does not read itself, and runs it.
# Receivers, all optional: ALERT_WEBHOOK_URL gets a POST of JSON, ALERT_MAIL_TO e-mail through ALERT_SMTP_HOST,
# ALERT_WATCHDOG_URL a POST per minute as long as alerting works.
set -eu
umask 077
# Secrets are in separate files: quotes need no escaping, and the status page of Alertmanager does not show them.
printf %s "${ALERT_WEBHOOK_URL:-}" >/tmp/webhook
printf %s "${ALERT_SMTP_PASSWORD:-}" >/tmp/smtp-password
printf %s "${ALERT_WATCHDOG_URL:-}" >/tmp/watchdog

quoted() { # a YAML string
    printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}

if [ -n "${ALERT_MAIL_TO:-}" ]; then
    missing=
    for name in ALERT_MAIL_FROM ALERT_SMTP_HOST; do
        eval "[ -n \"\${$name:-}\" ]" || missing="$missing $name"
    done
    if [ -n "$missing" ]; then
        echo "alertmanager: ALERT_MAIL_TO is set, but not$missing. Set it in .env, or unset ALERT_MAIL_TO." >&2
        exit 2
    fi
fi

{
    echo "route:"
    echo "  {receiver: operators, group_by: [alertname], group_wait: 30s, group_interval: 5m, repeat_interval: 12h, routes: ["
    echo "    {receiver: watchdog, matchers: [alertname=Watchdog], group_wait: 0s, repeat_interval: 1m, group_interval: 1m}]}"
    echo "receivers:"
    echo "  - name: watchdog"
    if [ -n "${ALERT_WATCHDOG_URL:-}" ]; then
        echo "    webhook_configs: [{url_file: /tmp/watchdog, send_resolved: false}]"
    fi
    echo "  - name: operators"
    if [ -n "${ALERT_WEBHOOK_URL:-}" ]; then
        echo "    webhook_configs: [{url_file: /tmp/webhook}]"
    fi
    if [ -n "${ALERT_MAIL_TO:-}" ]; then
        echo "    email_configs:"
        echo "      - to: $(quoted "$ALERT_MAIL_TO")"
        echo "        from: $(quoted "$ALERT_MAIL_FROM")"
        echo "        smarthost: $(quoted "$ALERT_SMTP_HOST")"
        if [ -n "${ALERT_SMTP_USERNAME:-}" ]; then
            echo "        auth_username: $(quoted "$ALERT_SMTP_USERNAME")"
            echo "        auth_password_file: /tmp/smtp-password"
        fi
    fi
} >/tmp/alertmanager.yml
unset ALERT_WEBHOOK_URL ALERT_SMTP_PASSWORD ALERT_WATCHDOG_URL
# A single instance: no cluster port is opened.
exec /bin/alertmanager --config.file=/tmp/alertmanager.yml --storage.path=/alertmanager --cluster.listen-address= "$@"
