#!/usr/bin/env bash
# Give a command to a Ray cluster as a job: bash infra/ray/submit.sh skeletonllm quickstart --data /work/recordings ...
# The job's name is made of the command and the day, so that the same command, sent twice, runs once: Ray refuses the
# second. Another try on the same day is ATTEMPT=2. Training runs where the command runs, on the head unless GPUS=1 (or more)
# asks for a node with GPUs. Needs RAY_API_SERVER_ADDRESS (or RAY_ADDRESS=http://HEAD:8265) and a token.
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "submit.sh: no command; for example: bash infra/ray/submit.sh skeletonllm quickstart --data /work/recordings" >&2
    exit 2
fi
day="${DAY:-$(date -u +%F)}"
id="skeletonllm-$day-${ATTEMPT:-1}-$(printf '%s\0' "$@" | sha256sum | cut -c1-12)"
echo "job $id"
exec ray job submit --submission-id "$id" --no-wait ${GPUS:+--entrypoint-num-gpus="$GPUS"} -- "$@"
