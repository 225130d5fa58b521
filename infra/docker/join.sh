#!/usr/bin/env bash
# Entry point of our images: where RAY_HEAD names a cluster, this container is a node of it while its command runs, for a
# driver can only connect from a node. When the node dies (with its head, say) the container ends with code 1, so that
# its supervisor starts both again. RAY_NODE_CPUS and RAY_NODE_GPUS say how much it lends to the cluster: nothing, by default.
set -u
[ -n "${RAY_HEAD:-}" ] || exec "$@"
set -m  # else a shell makes what it starts beside it ignore SIGINT, by which Prefect's worker stops itself

# Nothing is drained when it is asked to end: its one driver has ended before it.
RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 ray start --address="$RAY_HEAD" --num-cpus="${RAY_NODE_CPUS:-0}" \
    --num-gpus="${RAY_NODE_GPUS:-0}" --object-store-memory=1000000000 --disable-usage-stats --block &
node=$!
RAY_ADDRESS="$RAY_HEAD" "$@" &
command=$!
trap 'kill "$command" 2>/dev/null' TERM INT

# A signal ends `wait`, too; then nothing has ended yet.
ended=""
until [ -n "${ended:-}" ]; do wait -n -p ended "$node" "$command"; code=$?; done
if [ "$ended" = "$node" ]; then
    echo "join.sh: this container's Ray node has ended (code $code); its command is asked to end, too" >&2
    kill "$command" 2>/dev/null
    # What trains needs 25 s to save.
    for _ in {1..60}; do kill -0 "$command" 2>/dev/null && sleep 1; done
    kill -KILL "$command" 2>/dev/null
    exit 1
fi
kill "$node" 2>/dev/null
wait "$node"
exit "$code"
