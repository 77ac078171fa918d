#!/bin/sh
# Creates mosquitto's private files from the environment and runs the given command (mosquitto).
#
#   MQTT_<USER>_PASSWORD   one per user of the ACL, without defaults
#   /mosquitto/certs       server.pem, server.key (created by certificates.sh, or your own)
#   /mosquitto/config      acl; optional: devices, additional logins in the format of mosquitto_passwd
#
# Started as root, it gives the files to the user mosquitto, to which mosquitto then switches; so the key may belong to
# root. Passwords are on no command line, and unencrypted only briefly in a private file.
set -eu
umask 077

configuration=${MOSQUITTO_CONFIG:-/mosquitto/config}
certificates=${MOSQUITTO_CERTS:-/mosquitto/certs}
run=${MOSQUITTO_RUN:-/run/mosquitto}

mistakes=
mistake() { mistakes="$mistakes
  $1"; }

users="collector archiver access simulator forwarder devices"
for user in $users; do
    name="MQTT_$(printf %s "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD"
    eval "password=\${$name:-}"
    case $password in
        "") mistake "$name: not set; run \`make secrets\`" ;;
        *[!\!-\~]* | *:*)
            mistake "$name: has a colon, a space or a non-ASCII character; \`make secrets\` generates valid ones" ;;
        *[Cc]hange*[Mm]e* | *[Ee]xample* | *[Pp]assword* | *[Ss]ecret* | *"$user"*)
            mistake "$name: is an example, not a secret; run \`make secrets\`" ;;
        ????????????*) ;;
        *) mistake "$name: shorter than 12 characters; run \`make secrets\`" ;;
    esac
done
for file in "$configuration/acl" "$certificates/server.pem" "$certificates/server.key"; do
    [ -r "$file" ] ||
        mistake "$file: missing, or not readable for user $(id -u); \`make secrets\` creates the certificates"
done
if [ -n "$mistakes" ]; then
    echo "mosquitto: invalid configuration:$mistakes" >&2
    exit 2
fi

mkdir -p "$run"
rm -f "$run/passwords"
# The password of the health check is random at every start and never leaves this container.
health=$(head -c 24 /dev/urandom | base64 | tr -d '/+=\n')
{
    for user in $users; do
        eval "printf '%s:%s\n' $user \"\$MQTT_$(printf %s "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD\""
    done
    printf 'health:%s\n' "$health"
} > "$run/passwords"
mosquitto_passwd -U "$run/passwords"
if [ -f "$configuration/devices" ]; then
    cat "$configuration/devices" >> "$run/passwords"
fi
printf -- '--username health\n--pw %s\n' "$health" > "$run/mosquitto_sub"
cp "$configuration/acl" "$certificates/server.pem" "$certificates/server.key" "$run"
chmod 600 "$run"/*
if [ "$(id -u)" = 0 ]; then
    chown -R mosquitto: "$run"
    if [ -d /mosquitto/data ]; then
        chown -R mosquitto: /mosquitto/data
    fi
fi

# mosquitto reads the passwords from the files.
for user in $users; do
    unset "MQTT_$(printf %s "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD"
done
exec "$@"
