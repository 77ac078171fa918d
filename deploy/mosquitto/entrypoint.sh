#!/bin/sh
# Makes mosquitto's private files from the environment and becomes what it is told to run (mosquitto).
#
#   MQTT_<USER>_PASSWORD   one for each user of the ACL; none has a default
#   /mosquitto/certs       server.pem, server.key (certificates.sh makes them, or a company's own)
#   /mosquitto/config      acl; devices: optional, further logins as mosquitto_passwd writes them
#
# Started as root, it hands the files to the user mosquitto, whom mosquitto then becomes by itself; so the key may
# belong to root alone. Passwords are on no command line and in no file in clear, but for a moment in a private one.
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
        "") mistake "$name: not set; \`make secrets\` makes one" ;;
        *[!\!-\~]* | *:*)
            mistake "$name: has a colon, a space or a character beyond ASCII; \`make secrets\` makes one without" ;;
        *[Cc]hange*[Mm]e* | *[Ee]xample* | *[Pp]assword* | *[Ss]ecret* | *"$user"*)
            mistake "$name: is an example, not a secret; \`make secrets\` makes one" ;;
        ????????????*) ;;
        *) mistake "$name: shorter than 12 characters; \`make secrets\` makes one" ;;
    esac
done
for file in "$configuration/acl" "$certificates/server.pem" "$certificates/server.key"; do
    [ -r "$file" ] ||
        mistake "$file: not there, or user $(id -u) can't read it; \`make secrets\` makes the certificates"
done
if [ -n "$mistakes" ]; then
    echo "mosquitto: does not start:$mistakes" >&2
    exit 2
fi

mkdir -p "$run"
rm -f "$run/passwords"
# The health check's password is known to this container alone, and another one at every start.
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

# They are in the files now; mosquitto has no need of them.
for user in $users; do
    unset "MQTT_$(printf %s "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD"
done
exec "$@"
