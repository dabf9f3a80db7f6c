#!/usr/bin/env bash
# Installed by prepare.sh under the names of RabbitMQ's programs: runs the one of that name in the system beside it, in this
# folder and with the variables that are RabbitMQ's. What is mounted for it is seen by it alone and goes with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../root" && pwd)
program=/usr/lib/rabbitmq/bin/$(basename "$0")
shared=${TMPDIR:-/tmp}
mapfile -t own < <(env | grep -E '^(HOME|RABBITMQ_[A-Z_]+|ERL_EPMD_[A-Z]+)=')
ulimit -n "$(ulimit -H -n)"
# shellcheck disable=SC2016
exec unshare --mount bash -c '
    set -e
    root=$1 shared=$2
    shift 2
    mkdir -p "$root$shared"
    mount -t proc proc "$root/proc"
    mount --bind "$shared" "$root$shared"
    [ -c "$root/dev/null" ] || mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i "$@"
' inside "$root" "$shared" --chdir="$PWD" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${own[@]}" "$program" "$@"
