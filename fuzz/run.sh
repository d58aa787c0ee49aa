#!/usr/bin/env bash
# Fuzzes every target for so many seconds, as many at once as there are processors: `fuzz/run.sh [SECONDS]`. What is found
# goes to fuzz/artifacts, what reaches new code to fuzz/work, from where the next run goes on.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH=$PWD/../.tools/bin:$PATH
# Sanitizers are not stable, and there is one toolchain.
export RUSTC_BOOTSTRAP=1
# Nothing here forgets memory on purpose, and looking for it needs a right that containers do not give.
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
