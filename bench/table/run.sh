#!/usr/bin/env bash
# Measures operations on DynamoDB Local with today's table and with the one before commit dd82f60ca0; see ../README.md. The
# earlier commit is built in a temporary worktree, with the source of today's operations.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
old=d9a5110cd1
out=$PWD/bench/out/table
worktree=$out/worktree
target=${CARGO_TARGET_DIR:-$PWD/target}/release

git cat-file -e "$old^{commit}" 2>/dev/null || {
    echo "bench: commit $old is not here; fetch the whole history (git fetch --unshallow)" >&2
    exit 1
}
tools/install.sh dynamodb
cargo build --release --package onerun-bench-table

remove() {
    git worktree remove --force "$worktree" 2>/dev/null || true
}
trap remove EXIT
remove
mkdir -p "$out"
git worktree add --quiet --detach "$worktree" "$old"
install -D --mode 644 bench/table/src/bin/operations.rs "$worktree/tests/examples/bench_table_operations.rs"
(
    cd "$worktree"
    # Its own directory, so that both builds keep their caches.
    CARGO_TARGET_DIR=$out/target cargo build --release --locked --package onerun-tests --example bench_table_operations
)
tools/dynamodb.sh run "$target/bench_table" "$out/target/release/examples/bench_table_operations" \
    "$target/bench_table_operations"
