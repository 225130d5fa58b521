#!/usr/bin/env bash
# Makes the secrets that infra/compose.yaml mounts, once: random ones, and an empty key for the teacher, to be filled in.
# Containers read them as user 10001: run as root, this gives them to that user alone; else the folder is closed to others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p secrets
chmod 700 secrets
for name in postgres_password ray_token; do
    [ -s "secrets/$name" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
done
[ -e secrets/teacher_key ] || : >secrets/teacher_key
if [ "$(id -u)" = 0 ]; then
    chown 10001 secrets/*
    chmod 600 secrets/*
else
    chmod 644 secrets/*
fi
echo "secrets are in $PWD/secrets"
