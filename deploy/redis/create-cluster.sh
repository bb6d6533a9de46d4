#!/bin/sh
# Joins Redis nodes to a cluster with one replica per master. Does nothing if the first node has joined one already, so it
# may run at each start of a deployment.
#
#     REDISCLI_AUTH=<password of the user operator> create-cluster.sh HOST:PORT HOST:PORT …     # six nodes or more
#
# REDIS_CLI replaces `redis-cli --user operator`, for example `redis-cli --user operator --tls --cacert /etc/redis/ca.pem`.
set -eu
cli=${REDIS_CLI:-redis-cli --user operator}

# CLUSTER MEET takes no names.
address() {
    host=${1%:*}
    case $host in
    *[!0-9.]*) host=$(getent hosts "$host" | awk '{ print $1; exit }') ;;
    esac
    echo "${host:?$1 has no address}:${1##*:}"
}

ask() {
    place=$1
    shift
    port=${place##*:}
    $cli -h "${place%:*}" -p "${port%@*}" "$@" | tr -d '\r'
}

nodes=
for node; do
    tries=60
    until place=$(address "$node" 2>/dev/null) && [ "$(ask "$place" ping 2>/dev/null)" = PONG ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "$node does not answer" >&2; exit 1; }
        sleep 1
    done
    nodes="$nodes $place"
done
set -- $nodes
if ! ask "$1" cluster info | grep -qx cluster_known_nodes:1; then
    echo "$1 is a member of a cluster already"
    exit 0
fi
$cli --cluster create "$@" --cluster-replicas 1 --cluster-yes
