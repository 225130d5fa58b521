#!/usr/bin/env bash
# Makes the secrets that infra/compose.yaml mounts, once: random ones, and an empty key for the teacher, to be filled in.
# Containers read them as user 10001; the folder is for you alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets
chmod 700 secrets
for name in postgres_password ray_token; do
    [ -s "secrets/$name" ] || (umask 022 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name")
done
[ -e secrets/teacher_key ] || (umask 022 && : >secrets/teacher_key)
echo "secrets are in $PWD/secrets"
