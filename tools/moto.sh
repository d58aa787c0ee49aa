#!/usr/bin/env bash
# Runs a command with moto, another DynamoDB emulator. `tools/moto.sh run COMMAND…` starts moto on a free port, runs the command
# with its address in ONERUN_TEST_DYNAMODB, and always stops it. `tools/install.sh aws` installs moto into .tools/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/server.sh
name=moto
dir=$PWD/.tools/aws

serve() {
    exec "$dir/bin/python" tools/locked_moto.py "$1"
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || fail "usage: tools/moto.sh run COMMAND…"
shift
[ -f "$dir/installed.lock" ] || fail "not installed: tools/install.sh aws"
with_server "$dir/moto.log" "$@"
