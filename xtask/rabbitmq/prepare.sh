#!/usr/bin/env bash
# prepare.sh FOLDER: RabbitMQ 4.3 from a newer Debian than this one, for tests beside the system's own. It is unpacked into
# FOLDER/root (a minute, 400 MB), and FOLDER/bin has the programs that STEPCAST_TEST_RABBITMQ_SCRIPTS wants. Needs root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1

fail() {
    echo "prepare.sh: $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail 'a system of its own for RabbitMQ 4.3 is unpacked by root alone: run this as root'
if [ ! -e "$folder/ready" ]; then
    command -v debootstrap >/dev/null || {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debootstrap
    }
    mirror=$({ grep -rhoE 'https?://[^ ]+/debian/?' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true; } |
        grep -v snapshot | head -n 1 || true)
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    debootstrap --variant=minbase --include=rabbitmq-server forky "$folder/root" "${mirror:-http://deb.debian.org/debian}" \
        /usr/share/debootstrap/scripts/sid >"$folder/log" 2>&1 || { tail -n 20 "$folder/log" >&2; fail 'debootstrap failed'; }
    rm -rf "$folder"/root/var/cache/apt/archives/*.deb
    touch "$folder/ready"
fi
cp /etc/hosts "$folder/root/etc/hosts"
for program in rabbitmq-server rabbitmqctl; do install -m 755 "$here/inside.sh" "$folder/bin/$program"; done
