#!/bin/sh
# `make secrets`: generates a random value for every empty secret in .env and keeps the others. Needs only a shell. If
# .env is missing, it is copied from .env.example; only its owner may read it.
set -eu
cd "${1:-$(dirname "$0")/..}"
umask 077
[ -e .env ] || cp .env.example .env
chmod 600 .env

random() { # a Fernet key is 32 bytes in URL-safe base64; other secrets are hexadecimal, which needs no quoting
    case $1 in
    *FERNET_KEY) head -c 32 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_' ;;
    *) od -An -N24 -tx1 /dev/urandom | tr -d ' \n' ;;
    esac
}

new=.env.new.$$
trap 'rm -f "$new" "$new.next"' EXIT
cp .env "$new"
generated=
for name in $(sed -n -E 's/^([A-Z_]*(PASSWORD|SECRET|FERNET_KEY))=$/\1/p' .env.example); do
    ! grep -q "^$name=." "$new" || continue
    # Replace the empty line, or append the setting if .env does not have it yet. The value is passed in the
    # environment because other users can read the arguments of a process.
    name=$name value=$(random "$name") awk '
        BEGIN { name = ENVIRON["name"]; line = name "=" ENVIRON["value"] }
        $0 == name "=" { print line; replaced = 1; next }
        { print }
        END { if (!replaced) print line }' "$new" >"$new.next"
    mv "$new.next" "$new"
    generated="$generated $name"
done
if [ -n "$generated" ]; then
    mv "$new" .env
    echo "secrets: generated$generated in .env"
else
    echo "secrets: every secret in .env has a value; none was changed"
fi

# The certificate of the broker, if there is none: for this machine and the names in MQTT_TLS_NAMES.
if [ -f deploy/mosquitto/certificates.sh ]; then
    # shellcheck disable=SC2046
    sh deploy/mosquitto/certificates.sh deploy/mosquitto localhost 127.0.0.1 mosquitto \
        $(sed -n 's/^MQTT_TLS_NAMES=//p' .env)
fi
