#!/usr/bin/env bash
# Format, lint, types, import contracts, tests: what must hold before a change lands. Does its own set-up.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up_environment "[dev]"
bin="$VENV/bin"

echo "== format";   "$bin/ruff" format --check .
echo "== lint";     "$bin/ruff" check .
echo "== types";    "$bin/basedpyright" --pythonpath "$bin/python"
echo "== imports";  "$bin/lint-imports"
# Two files at a time: half of the time goes by in the end-to-end test, which comes first.
echo "== tests";    "$bin/python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
