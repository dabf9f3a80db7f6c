#!/usr/bin/env bash
# As the program CLUSTER_PROGRAM (stepcast), but `serve` is a whole cluster: HAProxy where it is told to listen, two
# gateways with control and projections behind it, CLUSTER_EXECUTORS executors (2 unless set), over the servers that
# `servers.sh` has started. Each data folder has a virtual host and a database of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/free-port.sh"
program=$CLUSTER_PROGRAM
verb=${1:-}
listen=127.0.0.1:3000
data=./stepcast-data
rest=()
while [ $# -gt 0 ]; do
    case $1 in
    --listen) listen=$2; shift ;;
    --data-dir) data=$2; shift ;;
    *) rest+=("$1") ;;
    esac
    shift
done
own=$data/cluster

case $verb in
serve) ;;
token | doctor) exec "$program" "${rest[@]}" --data-dir "$data" --store "@$own/store" ;;
*) exec "$program" "${rest[@]}" ;;
esac
rest=("${rest[@]:1}")

pids=()
end() {
    trap '' INT TERM
    [ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    wait
}
trap 'end; exit 0' INT TERM
trap end EXIT

# What is started here ends with this script, however that ends.
start() {
    setpriv --pdeathsig KILL -- "$@" &
    pids+=("$!")
}

# Waits until a process of a former start, which ends with that one, has let go of its data folder.
until_left() {
    [ ! -e "$1/serve.lock" ] || flock --timeout 10 "$1/serve.lock" true
}

# Waits until a process says in a file that it is there.
until_told() {
    until grep -q "$1" "$2"; do
        kill -0 "$3" 2>/dev/null || { echo "stepcast.sh: $(basename "$2" .out) ended before it was there" >&2; exit 1; }
        sleep 0.02
    done
}

if [ ! -e "$own/store" ]; then
    mkdir -p "$own"
    name=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    "$CLUSTER_RABBITMQCTL" add_vhost "$name"
    "$CLUSTER_RABBITMQCTL" set_permissions --vhost "$name" guest '.*' '.*' '.*'
    "$CLUSTER_POSTGRES_BIN/createdb" -h "${CLUSTER_POSTGRES%:*}" -p "${CLUSTER_POSTGRES#*:}" -U stepcast -T template0 "stepcast_$name"
    (umask 077 && echo "amqp://guest:guest@$CLUSTER_AMQP/$name" >"$own/broker" &&
        echo "postgres://stepcast:$PGPASSWORD@$CLUSTER_POSTGRES/stepcast_$name" >"$own/store")
fi
[ "${listen##*:}" != 0 ] || listen=${listen%:*}:$(free_port)

shared=(--broker "@$own/broker" --trusted-proxies 127.0.0.1 "${rest[@]}")
for gateway in north south; do
    : >"$own/$gateway.out"
    address=127.0.0.1:$(free_port)
    until_left "$data/$gateway"
    start "$program" serve --roles gateway,control,projections --listen "$address" --data-dir "$data/$gateway" \
        --instance "$gateway" --public-url "http://$listen" --store "@$own/store" --artifacts "$data/artifacts" \
        "${shared[@]}" >"$own/$gateway.out"
    until_told '^Listening on' "$own/$gateway.out" "${pids[-1]}"
    declare "$gateway=$address"
    # For who measures one of them: its process, and the way to it past HAProxy.
    echo "${pids[-1]} $address" >"$own/$gateway.place"
done
for executor in $(seq "${CLUSTER_EXECUTORS:-2}"); do
    : >"$own/executor-$executor.out"
    until_left "$data/executor-$executor"
    start "$program" serve --roles executor --data-dir "$data/executor-$executor" "${shared[@]}" >"$own/executor-$executor.out"
done
STEPCAST_FRONT=$listen STEPCAST_NORTH=$north STEPCAST_SOUTH=$south start haproxy -db -f "$here/../../deploy/haproxy.cfg"
until (exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}") 2>/dev/null; do
    kill -0 "${pids[-1]}" || { echo "stepcast.sh: HAProxy ended before it was there" >&2; exit 1; }
    sleep 0.02
done
for executor in $(seq "${CLUSTER_EXECUTORS:-2}"); do
    until_told '^Running' "$own/executor-$executor.out" "${pids[$((executor + 1))]}"
done
cat "$own/north.out"
wait
