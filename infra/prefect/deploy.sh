#!/usr/bin/env bash
# Deploy what infra/prefect/prefect.yaml describes. As the workers see them, each with a default for one machine:
#   SKELETONLLM_HOME     this repository; /opt/skeletonllm in our images
#   SKELETONLLM_SOURCE   the recordings
#   SKELETONLLM_WORKDIR  where everything is kept that is made of them
#   SKELETONLLM_POOL     process, docker or kubernetes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export SKELETONLLM_HOME="${SKELETONLLM_HOME:-$PWD}"
workdir="${SKELETONLLM_WORKDIR:-$SKELETONLLM_HOME/skeletonllm-work}"
described="$(mktemp -d)"
trap 'rm -r "$described"' EXIT
sed -e "s|<<: \*process$|<<: *${SKELETONLLM_POOL:-process}|" \
    -e "s|&source .*|\&source ${SKELETONLLM_SOURCE:-$workdir/sample-data}|" \
    -e "s|&workdir .*|\&workdir $workdir|" infra/prefect/prefect.yaml >"$described/prefect.yaml"
prefect --no-prompt deploy --all --prefect-file "$described/prefect.yaml"
