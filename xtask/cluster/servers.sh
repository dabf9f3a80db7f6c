#!/usr/bin/env bash
# servers.sh COMMAND...: runs COMMAND beside a private RabbitMQ and a private PostgreSQL, on free ports of this machine
# and with their data in a folder that is removed at the end. COMMAND finds them by these variables:
#   CLUSTER_AMQP            host:port, user and password guest
#   CLUSTER_RABBITMQCTL     a program that is rabbitmqctl for this node
#   CLUSTER_POSTGRES        host:port, user stepcast
#   CLUSTER_POSTGRES_BIN    the folder with createdb
#   PGPASSWORD              the password
# COMMAND may kill them and start them again on the same data:
#   CLUSTER_RABBITMQ_PID, CLUSTER_POSTGRES_PID        files whose first line is the process id
#   CLUSTER_RABBITMQ_SERVE, CLUSTER_POSTGRES_SERVE    programs that become the server
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/free-port.sh"

folder=$(mktemp -d "${TMPDIR:-/tmp}/stepcast-cluster-XXXXXX")
chmod 711 "$folder"
started=()
command_pid=

stop() {
    trap '' INT TERM EXIT
    [ -z "$command_pid" ] || { kill -TERM "$command_pid" 2>/dev/null && wait "$command_pid" 2>/dev/null || true; }
    [ ! -d "$folder/postgres/data" ] || as_postgres "$postgres_bin/pg_ctl" -s -D "$folder/postgres/data" -m immediate stop 2>/dev/null || true
    for group in "${started[@]}"; do kill -KILL -- "-$group" 2>/dev/null || true; done
    # One that COMMAND has started is in no group of ours.
    [ ! -s "$folder/rabbitmq/pid" ] || kill -KILL "$(cat "$folder/rabbitmq/pid")" 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts a program as the leader of a process group of its own.
start() {
    local log=$1
    shift
    setsid "$@" </dev/null >"$log" 2>&1 &
    started+=("$!")
}

# PostgreSQL refuses to run as root; its package has made a user for it.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

postgres_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$postgres_bin" ] || postgres_bin=$(dirname "$(command -v initdb)")
port=$(free_port)
mkdir "$folder/postgres"
PGPASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export PGPASSWORD
echo "$PGPASSWORD" >"$folder/postgres/password"
[ "$(id -u)" != 0 ] || chown -R postgres "$folder/postgres"
as_postgres "$postgres_bin/initdb" -N -D "$folder/postgres/data" -U stepcast -A scram-sha-256 \
    --pwfile "$folder/postgres/password" -E UTF8 --locale C.UTF-8 >"$folder/initdb.log" 2>&1 ||
    { cat "$folder/initdb.log" >&2; exit 1; }
options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder/postgres -c max_connections=300"
as_postgres "$postgres_bin/pg_ctl" -s -w -t 60 -D "$folder/postgres/data" -l "$folder/postgres/log" -o "$options" start ||
    { cat "$folder/postgres/log" >&2; exit 1; }
as=
[ "$(id -u)" != 0 ] || as='setpriv --reuid postgres --regid postgres --init-groups'
printf '#!/usr/bin/env bash\ncd / && exec %s %q -D %q %s\n' "$as" "$postgres_bin/postgres" "$folder/postgres/data" "$options" >"$folder/postgres/serve"
chmod +x "$folder/postgres/serve"
export CLUSTER_POSTGRES=127.0.0.1:$port CLUSTER_POSTGRES_BIN=$postgres_bin CLUSTER_POSTGRES_SERVE=$folder/postgres/serve
export CLUSTER_POSTGRES_PID=$folder/postgres/data/postmaster.pid

rabbit=$folder/rabbitmq
mkdir "$rabbit"
echo '[].' >"$rabbit/plugins"
: >"$rabbit/environment"
echo 'disk_free_limit.absolute = 50MB' >"$rabbit/rabbitmq.conf"
port=$(free_port)
mapper=$(free_port)
cat >"$rabbit/variables" <<VARIABLES
export HOME='$rabbit' RABBITMQ_NODENAME='stepcast-$port@localhost' RABBITMQ_NODE_PORT=$port
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$(free_port)
export ERL_EPMD_PORT=$mapper ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE='$rabbit/data'
export RABBITMQ_LOG_BASE='$rabbit/log' RABBITMQ_PID_FILE='$rabbit/pid' RABBITMQ_ENABLED_PLUGINS_FILE='$rabbit/plugins'
export RABBITMQ_CONF_ENV_FILE='$rabbit/environment' RABBITMQ_CONFIG_FILE='$rabbit/rabbitmq.conf'
VARIABLES
scripts=${STEPCAST_TEST_RABBITMQ_SCRIPTS:-/usr/lib/rabbitmq/bin}
cat >"$rabbit/rabbitmqctl" <<SCRIPT
#!/usr/bin/env bash
. '$rabbit/variables'
cd '$rabbit' && exec '$scripts/rabbitmqctl' --quiet "\$@"
SCRIPT
cat >"$rabbit/serve" <<SCRIPT
#!/usr/bin/env bash
. '$rabbit/variables'
cd '$rabbit' && exec '$scripts/rabbitmq-server'
SCRIPT
chmod +x "$rabbit/rabbitmqctl" "$rabbit/serve"
start "$rabbit/epmd.out" epmd -port "$mapper" -address 127.0.0.1
start "$rabbit/out" "$rabbit/serve"
export CLUSTER_AMQP=127.0.0.1:$port CLUSTER_RABBITMQCTL=$rabbit/rabbitmqctl CLUSTER_RABBITMQ_SERVE=$rabbit/serve
export CLUSTER_RABBITMQ_PID=$rabbit/pid
"$CLUSTER_RABBITMQCTL" wait --timeout 90 "$rabbit/pid" >/dev/null 2>"$rabbit/wait.err" &&
    "$CLUSTER_RABBITMQCTL" await_startup --timeout 90 >/dev/null 2>>"$rabbit/wait.err" ||
    { cat "$rabbit/out" "$rabbit/wait.err" >&2; echo "servers.sh: RabbitMQ does not start" >&2; exit 1; }

"$@" &
command_pid=$!
status=0
wait "$command_pid" || status=$?
command_pid=
exit "$status"
