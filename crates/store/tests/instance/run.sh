# A private PostgreSQL: `run.sh BIN FOLDER`, as a user that may run it. It says a line when it is ready, obeys the words
# that it reads, and ends with them: whoever started it may die in any way, and nothing is left behind.
set -eu
bin=$1
folder=$2
data=$folder/data
# Ctrl-C goes to the whole group: the end of the words is what counts here.
trap '' INT TERM HUP

run() {
    "$bin/pg_ctl" -s -w -t 60 -D "$data" "$@" </dev/null >>"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
}

# Its own files need not be on the disk yet; what the server writes later is.
"$bin/initdb" -N -D "$data" -U stepcast -A scram-sha-256 --pwfile "$folder/password" -E UTF8 --locale C.UTF-8 \
    >>"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
cat "$folder/settings" >>"$data/postgresql.conf"
run start
echo ready
while read -r word; do
    case $word in
    # As after a loss of power: nothing is left but what was on the disk.
    crash) run -m immediate stop ;;
    start) run start ;;
    esac
    echo done
done
"$bin/pg_ctl" -s -w -D "$data" -m immediate stop >/dev/null 2>&1 || true
rm -rf "$folder"
