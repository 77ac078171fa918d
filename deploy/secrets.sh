#!/bin/sh
# `make secrets`: gives every secret of .env that is empty a value of its own, and keeps those that have one. Needs
# nothing but a shell. .env is made from .env.example where there is none; nobody but its owner may read it.
set -eu
cd "${1:-$(dirname "$0")/..}"
umask 077
[ -e .env ] || cp .env.example .env
chmod 600 .env

random() { # 32 bytes; a Fernet key is their base64 for URLs, of all else hexadecimal digits go through any quoting
    case $1 in
    *FERNET_KEY) head -c 32 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_' ;;
    *) od -An -N24 -tx1 /dev/urandom | tr -d ' \n' ;;
    esac
}

new=.env.new.$$
trap 'rm -f "$new" "$new.next"' EXIT
cp .env "$new"
made=
for name in $(sed -n -E 's/^([A-Z_]*(PASSWORD|SECRET|FERNET_KEY))=$/\1/p' .env.example); do
    ! grep -q "^$name=." "$new" || continue
    # In its place, or at the end of a .env that is older than the setting. By the environment: others can read
    # the arguments of a process.
    name=$name value=$(random "$name") awk '
        BEGIN { name = ENVIRON["name"]; line = name "=" ENVIRON["value"] }
        $0 == name "=" { print line; done = 1; next }
        { print }
        END { if (!done) print line }' "$new" >"$new.next"
    mv "$new.next" "$new"
    made="$made $name"
done
if [ -n "$made" ]; then
    mv "$new" .env
    echo "secrets: made$made, in .env"
else
    echo "secrets: every secret in .env has a value; none was changed"
fi

# The broker's certificate, where there is none: for this machine, and the names that .env has.
if [ -f deploy/mosquitto/certificates.sh ]; then
    # shellcheck disable=SC2046
    sh deploy/mosquitto/certificates.sh deploy/mosquitto localhost 127.0.0.1 mosquitto \
        $(sed -n 's/^MQTT_TLS_NAMES=//p' .env)
fi
