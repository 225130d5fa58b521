#!/usr/bin/env bash
# Format, lint, types, import contracts, tests: what must hold before a change lands. Does its own set-up.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up_environment "[dev]"
bin="$VENV/bin"

echo "== format";   "$bin/ruff" format --check .
echo "== lint";     "$bin/ruff" check .
echo "== types";    "$bin/basedpyright" --pythonpath "$bin/python"
echo "== imports";  "$bin/lint-imports"
echo "== tests";    "$bin/python" -m pytest "$@"
