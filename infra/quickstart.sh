#!/usr/bin/env bash
# The whole pipeline on sample data, offline, on the CPU: sets up what it needs, then runs `skeletonllm quickstart`.
# Arguments go to it, paths from where you stand: `bash infra/quickstart.sh --data MY_RECORDINGS`.
here="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up_environment ""
command="$(realpath "$VENV/bin")/skeletonllm"
cd "$here"
exec "$command" quickstart "$@"
