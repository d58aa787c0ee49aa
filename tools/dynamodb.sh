#!/usr/bin/env bash
# Amazon's DynamoDB Local for the tests. `tools/dynamodb.sh run COMMAND…` starts one on a free port, runs the command with
# its address in ONERUN_TEST_DYNAMODB, and ends it, however the command ends. With that variable set already, the command
# runs against what it names. Needs Java 11 or newer; tools/install.sh dynamodb puts the program into .tools/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$PWD/.tools/dynamodb
log=$dir/server.log

fail() {
    echo "dynamodb: $*" >&2
    exit 1
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || fail "usage: tools/dynamodb.sh run COMMAND…"
shift
[ -z "${ONERUN_TEST_DYNAMODB:-}" ] || exec "$@"
command -v java >/dev/null || fail "no java on the PATH (Debian: apt-get install default-jre-headless), and ONERUN_TEST_DYNAMODB is not set"
[ -f "$dir/DynamoDBLocal.jar" ] || fail "not installed: tools/install.sh dynamodb"

# Whether something answers on a port of this machine.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

port=$((20000 + RANDOM % 20000))
while answers "$port"; do port=$((port + 1)); done
# In its own directory, because it leaves a file where it runs.
(cd "$dir" && exec java -Xmx1g -Djava.library.path=DynamoDBLocal_lib -jar DynamoDBLocal.jar \
    -inMemory -disableTelemetry -port "$port" >"$log" 2>&1) &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT

for _ in $(seq 300); do
    kill -0 "$server" 2>/dev/null || fail "it ended at once: $(tail -n 3 "$log")"
    if answers "$port"; then
        ONERUN_TEST_DYNAMODB=http://127.0.0.1:$port "$@"
        exit
    fi
    sleep 0.1
done
fail "it does not answer: $(tail -n 3 "$log")"
