# Sourced by scripts that run a command with a server. `with_server LOG COMMAND…` calls the script's function `serve PORT` with
# a free port in the background, waits until the server responds, runs the command with its address in ONERUN_TEST_DYNAMODB,
# stops the server, and exits like the command. `name` is the prefix of messages.

fail() {
    echo "$name: $*" >&2
    exit 1
}

# Whether a local port accepts connections.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

with_server() {
    # Use ports below the ephemeral range: a connection to an ephemeral port without a listener may connect to itself, and
    # so appear to succeed.
    local log=$1 port=$((20000 + RANDOM % 12000))
    shift
    while answers "$port"; do port=$((port + 1)); done
    serve "$port" >"$log" 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
    for _ in $(seq 300); do
        kill -0 "$server" 2>/dev/null || fail "the server exited: $(tail -n 3 "$log")"
        if answers "$port"; then
            ONERUN_TEST_DYNAMODB=http://127.0.0.1:$port "$@"
            exit
        fi
        sleep 0.1
    done
    fail "the server does not respond: $(tail -n 3 "$log")"
}
