#!/bin/sh
# A worker that makes its pool, its deployments and the automations if they are not there, then runs what is asked for.
set -eu
prefect work-pool create skeletonllm --type process --overwrite
prefect --no-prompt deploy --all --prefect-file infra/prefect/prefect.yaml
python -m flows.automations || true  # without a notification block one of them is left out, and it says so
exec infra/docker/join.sh prefect worker start --pool skeletonllm --with-healthcheck
