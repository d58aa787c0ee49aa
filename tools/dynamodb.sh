#!/usr/bin/env bash
# Runs a command with Amazon's DynamoDB Local. `tools/dynamodb.sh run COMMAND…` starts it on a free port, runs the command with
# its address in ONERUN_TEST_DYNAMODB, and always stops it. If that variable is set already, nothing is started. Needs Java 11 or
# newer; `tools/install.sh dynamodb` installs DynamoDB Local into .tools/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/server.sh
name=dynamodb
dir=$PWD/.tools/dynamodb

# It runs in its own directory, because it leaves a file there. The optimising compiler would take more time than it saves.
serve() {
    cd "$dir"
    exec java -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.library.path=DynamoDBLocal_lib -jar DynamoDBLocal.jar \
        -inMemory -disableTelemetry -port "$1"
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || fail "usage: tools/dynamodb.sh run COMMAND…"
shift
[ -z "${ONERUN_TEST_DYNAMODB:-}" ] || exec "$@"
command -v java >/dev/null || fail "no java on the PATH (Debian: apt-get install default-jre-headless), and ONERUN_TEST_DYNAMODB is not set"
[ -f "$dir/DynamoDBLocal.jar" ] || fail "not installed: tools/install.sh dynamodb"
with_server "$dir/server.log" "$@"
