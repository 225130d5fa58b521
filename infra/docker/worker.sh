#!/usr/bin/env bash
# A worker that makes its pool, its deployments and the automations, then runs what is asked for. They are made again only where
# what describes them has changed: Prefect then forgets which schedule was switched on, and which one an automation has paused.
set -euo pipefail
described="$(cat infra/prefect/*.yaml flows/*.py | sha256sum) $SKELETONLLM_SOURCE $SKELETONLLM_WORKDIR"
made="$PREFECT_HOME/deployed"
if [ "$(cat "$made" 2>/dev/null)" != "$described" ] || ! prefect deployment inspect retrain/retrain >/dev/null 2>&1; then
    prefect work-pool create skeletonllm --type process --overwrite
    bash infra/prefect/deploy.sh
    python -m flows.automations || true  # without a notification block one of them is left out, and it says so
    echo "$described" >"$made"
fi
exec infra/docker/join.sh prefect worker start --pool skeletonllm --with-healthcheck
