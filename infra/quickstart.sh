#!/usr/bin/env bash
# The whole pipeline on sample data, offline, on the CPU: sets up what it needs, then runs `skeletonllm quickstart`.
# Arguments go to it: `bash infra/quickstart.sh --data MY_RECORDINGS`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up_environment ""
exec "$VENV/bin/skeletonllm" quickstart "$@"
