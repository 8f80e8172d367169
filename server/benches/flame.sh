#!/bin/sh
# Makes flame graphs of the hub's processor time: flame-ingest.svg, flame-deliver.svg and flame-open.svg, in the folder of the
# first argument. The second is a folder of bodies, as `hookline bench ingest --bodies` takes them.
#
# Needs perf, curl, and inferno (`cargo install inferno`).
set -eu
out=${1:?a folder for the pictures}
bodies=${2:?a folder of bodies}
hookline=$(dirname "$0")/../../target/release/hookline
cargo build --release --locked -p hookline-server --manifest-path "$(dirname "$0")/../../Cargo.toml"

work=$(mktemp -d)
hub=
trap 'test -z "$hub" || kill -9 "$hub" 2>/dev/null; rm -rf "$work"' EXIT
cat > "$work/hub.toml" <<TOML
[http]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
[store]
path = "$work/data"
[sources.github]
kind = "github"
secrets = ["plain:secret"]
TOML

# Waits for the line that says where the hub listens.
ready() {
    tries=0
    until grep -q ready "$work/out" 2>/dev/null; do
        tries=$((tries + 1))
        test "$tries" -lt 600 || { cat "$work/err" >&2; exit 1; }
        sleep 0.1
    done
    http=$(sed -n 's/.*http=\([^ ]*\).*/\1/p' "$work/out")
    grpc=$(sed -n 's/.*grpc=\([^ ]*\).*/\1/p' "$work/out")
}

# Draws what perf has recorded.
draw() {
    perf script --no-inline -i "$work/perf" 2>/dev/null | inferno-collapse-perf |
        inferno-flamegraph --title "$2" --minwidth 0.4 > "$out/flame-$1.svg"
}

record="perf record -q --call-graph dwarf,16384 -o $work/perf"
"$hookline" serve --config "$work/hub.toml" > "$work/out" 2> "$work/err" &
hub=$!
ready
load="--url $http/webhooks/github --secret plain:secret --pid $hub --bodies $bodies"
"$hookline" bench ingest $load -n 200000 > /dev/null &
sleep 2
$record -F 199 -p "$hub" -- sleep 5
wait $!
draw ingest "Webhooks over 128 connections, each on the disk before its answer"
# Posts them all first; recorded is what comes after.
"$hookline" bench deliver $load --hub "$grpc" -n 300000 --backlog --raw > /dev/null &
until curl -s "$http/metrics" | grep -q '^hookline_deliveries_ended_total{.*outcome="acked".*} [1-9]'; do
    sleep 0.05
done
$record -F 199 -p "$hub" -- sleep 4
wait $!
draw deliver "Deliveries and acks, one consumer"
kill -9 "$hub"
wait "$hub" 2>/dev/null || true
hub=
$record -F 1999 -- "$hookline" serve --config "$work/hub.toml" > "$work/out" 2> "$work/err" &
recorder=$!
ready
pkill -TERM -P "$recorder"
wait "$recorder" || true
draw open "Opening a log of 500,000 webhooks after a kill, until ready"
