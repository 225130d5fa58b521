# Sourced by check.sh and quickstart.sh: a virtual environment with everything in it, made once and kept.
# Usage: set_up_environment EXTRAS, for example "[dev]" or "".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV="${SKELETONLLM_VENV:-.venv}"

set_up_environment() {
    local wanted stamp
    wanted="$(sha256sum pyproject.toml | cut -c1-16)-$1"
    stamp="$VENV/.skeletonllm-$(echo "$1" | tr -dc a-z)"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    echo "== setting up $VENV (minutes, once)"
    [ -x "$VENV/bin/python" ] || "${PYTHON:-python3}" -m venv "$VENV"
    # A local folder of wheels that pip knows (a CPU build of torch, say) must be told to uv.
    if [ -n "${PIP_FIND_LINKS:-}" ] && [ -z "${UV_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="$PIP_FIND_LINKS"; fi
    if "$VENV/bin/python" -m pip install -q uv; then
        # Without bytecode every import of torch and transformers is two to three times slower, each time.
        UV_COMPILE_BYTECODE=1 "$VENV/bin/uv" pip install -q --python "$VENV/bin/python" -e ".$1" "${@:2}" ||
            install_with_pip "$@"
    else
        install_with_pip "$@"
    fi
    echo "$wanted" >"$stamp"
}

install_with_pip() {
    echo "== uv could not do it, trying pip"
    "$VENV/bin/python" -m pip install -q -e ".$1" "${@:2}"
    "$VENV/bin/python" -m compileall -q -j 0 "$VENV/lib" || true
}
