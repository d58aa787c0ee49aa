#!/usr/bin/env bash
# Fuzzes each target for SECONDS, one target for each processor at a time: `fuzz/run.sh [SECONDS]`.
# Failing inputs go to fuzz/artifacts. Inputs that reach new code go to fuzz/work, where the next
# run continues.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH=$PWD/../.tools/bin:$PATH
# Sanitizers need unstable options, and only the stable toolchain is installed.
export RUSTC_BOOTSTRAP=1
# No leak detection: nothing here leaks on purpose, and it needs a right that containers do not
# have.
export ASAN_OPTIONS=detect_leaks=0
export SECONDS_EACH=${1:-300}

command -v c++ >/dev/null || {
    echo "fuzz: no C++ compiler on the PATH (Debian: apt-get install g++)" >&2
    exit 1
}
cargo fuzz build --debug-assertions

one() {
    local target=$1 log=work/$1.log
    mkdir -p "work/$target"
    if cargo fuzz run --debug-assertions "$target" "work/$target" "corpus/$target" -- \
        -max_total_time="$SECONDS_EACH" -timeout=10 -print_final_stats=1 >"$log" 2>&1; then
        echo "$target: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs, nothing found"
    else
        echo "$target: failed, see fuzz/$log" >&2
        grep -A 30 -m 1 -E 'panicked at|ERROR: ' "$log" >&2 || tail -n 30 "$log" >&2
        return 1
    fi
}
export -f one
cargo fuzz list | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'one {}'
