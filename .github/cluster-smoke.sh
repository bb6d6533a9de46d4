#!/usr/bin/env bash
# Starts `cargo xtask cluster 3`, logs in through the balancer, kills an instance, and checks that the session still holds.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
mkfifo "$folder/commands"
cargo xtask cluster 3 <"$folder/commands" >"$folder/log" 2>&1 &
cluster=$!
exec 3>"$folder/commands"
trap 'status=$?; echo quit >&3 || true; wait "$cluster" || true; [ "$status" = 0 ] || cat "$folder/log"; rm -rf "$folder"' EXIT

# Waits until a line of the cluster's output contains a text; the first build may take 20 minutes.
wait_for() {
  for _ in $(seq 1200); do
    grep -q "$1" "$folder/log" && return
    kill -0 "$cluster" || return 1
    sleep 1
  done
  return 1
}
url=http://127.0.0.1:8080

wait_for "ready: $url"
curl -fsS -c "$folder/jar" -H 'content-type: application/json' -d '{"name":"ann"}' "$url/login"
curl -fsS -b "$folder/jar" "$url/session"
echo 'kill 2' >&3
for _ in $(seq 20); do
  curl -fsS -b "$folder/jar" "$url/session" | grep -q '"user":"ann"'
done
[ "$(curl -s -o /dev/null -w '%{http_code}' "$url/session")" = 401 ]
