#!/usr/bin/env bash
# Starts the services that functions need on this machine: `tests/sam/up.sh` starts DynamoDB Local,
# moto and a container engine, fills the table and the secret, and prints commands to type.
# `tests/sam/up.sh down` stops them. The Makefile's `sam-local-up` builds first.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lines=.aws-sam/local-lines.txt
pid=.aws-sam/local.pid
log=.aws-sam/local-up.log

fail() {
    echo "sam-local-up: $*" >&2
    exit 1
}

is_up() {
    # The process removes the file when it ends, possibly between the test and the read.
    kill -0 "$(cat "$pid" 2>/dev/null)" 2>/dev/null
}

case ${1:-up} in
up)
    if ! is_up; then
        rm -f "$lines" "$pid"
        setsid nohup tools/container.sh run tools/dynamodb.sh run .tools/aws/bin/python tests/sam/local.py --up \
            >"$log" 2>&1 </dev/null &
        started=$!
        until [ -f "$lines" ]; do
            kill -0 "$started" 2>/dev/null || fail "it ended: $(tail -n 5 "$log")"
            [ $SECONDS -lt 900 ] || fail "it is not up after 15 minutes; see $log"
            sleep 0.5
        done
    fi
    echo "It runs until \`make sam-local-down\`. Type, in this directory:"
    echo
    cat "$lines"
    ;;
down)
    is_up || { echo "sam-local-down: nothing runs"; exit 0; }
    kill "$(cat "$pid")"
    until ! is_up; do
        [ $SECONDS -lt 120 ] || fail "it does not end; see $log"
        sleep 0.2
    done
    echo "sam-local-down: ended"
    ;;
*) fail "usage: tests/sam/up.sh [down]" ;;
esac
