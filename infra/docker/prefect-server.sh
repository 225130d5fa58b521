#!/bin/sh
# Prefect's server with a database whose password lies in a file.
set -eu
PREFECT_SERVER_DATABASE_PASSWORD="$(cat "$PREFECT_DATABASE_PASSWORD_FILE")"
export PREFECT_SERVER_DATABASE_PASSWORD
exec prefect server start
