# Sourced by the scripts that start a server for one command. `with_server LOG COMMAND…` calls the script's own function
# `serve PORT` with a free port, in a process that ends with this one, runs the command with the server's address in
# ONERUN_TEST_DYNAMODB as soon as it answers, and exits as the command does. `name` says in messages who speaks.

fail() {
    echo "$name: $*" >&2
    exit 1
}

# Whether something answers on a port of this machine.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

with_server() {
    # Of the ports below those that outgoing connections are lent: one of these, tried before anything listens, may be
    # connected to itself, and so seem to answer.
    local log=$1 port=$((20000 + RANDOM % 12000))
    shift
    while answers "$port"; do port=$((port + 1)); done
    serve "$port" >"$log" 2>&1 &
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
}
