#!/bin/sh
# Entry point of our images: where RAY_HEAD names a cluster, this container becomes a node of it first, for a driver can
# only connect from a node. RAY_NODE_CPUS and RAY_NODE_GPUS say how much it lends to the cluster: nothing, by default.
set -eu
if [ -n "${RAY_HEAD:-}" ]; then
    ray start --address="$RAY_HEAD" --num-cpus="${RAY_NODE_CPUS:-0}" --num-gpus="${RAY_NODE_GPUS:-0}" \
        --disable-usage-stats
    export RAY_ADDRESS="$RAY_HEAD"
fi
exec "$@"
