#!/bin/sh
# Health check: whether the broker answers a client. mosquitto_sub reads its login from a file.
export XDG_CONFIG_HOME="${MOSQUITTO_RUN:-/run/mosquitto}"
exec mosquitto_sub -p "${1:-1883}" -t '$SYS/broker/uptime' -C 1 -W 5 >/dev/null
