#!/bin/sh
# Creates a certificate authority and a server certificate for the broker.
#
#   certificates.sh DIRECTORY NAME…     NAME: every host name and address that clients connect to
#
# Creates DIRECTORY/certs/{ca.pem,server.pem,server.key} and DIRECTORY/authority/ca.key. Clients need only ca.pem
# (MQTT_CA_FILE). Keep authority/ off the servers: its key can issue certificates for the broker's name. Existing files
# are kept: remove certs/server.* and run it again for other names or to renew the certificate.
set -eu
umask 077

if [ $# -lt 2 ]; then
    echo "usage: $0 DIRECTORY NAME…" >&2
    exit 2
fi
if ! command -v openssl >/dev/null; then
    echo "$0: openssl is not installed: install it, or put your own ca.pem, server.pem and server.key into $1/certs" >&2
    exit 2
fi
directory=$1
shift
certs=$directory/certs authority=$directory/authority
if [ -f "$certs/server.key" ] && [ -f "$certs/server.pem" ] && [ -f "$certs/ca.pem" ]; then
    exit 0
fi
names=
for name in "$@"; do
    case $name in
        *[!0-9.]*) case $name in *:*) kind=IP ;; *) kind=DNS ;; esac ;;
        *) kind=IP ;;
    esac
    names="$names${names:+,}$kind:$name"
done

mkdir -p "$certs" "$authority"
chmod 755 "$certs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -f "$authority/ca.key" ] || [ ! -f "$certs/ca.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=sensor-warehouse broker CA" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$authority/ca.key" -out "$work/ca.pem" 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
    mv "$work/ca.pem" "$certs/ca.pem"
fi
{
    echo "subjectAltName=$names"
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=serverAuth"
} > "$work/extensions"
{
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$work/server.key" -out "$work/server.csr" &&
        openssl x509 -req -in "$work/server.csr" -CA "$certs/ca.pem" -CAkey "$authority/ca.key" \
            -set_serial "0x$(openssl rand -hex 16)" -days 825 -extfile "$work/extensions" -out "$work/server.pem"
} 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
chmod 644 "$certs/ca.pem" "$work/server.pem"
mv "$work/server.key" "$work/server.pem" "$certs"
