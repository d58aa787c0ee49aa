#!/usr/bin/env bash
# Builds and runs the measurements; see README.md. Options are those of bench.py.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v wrk >/dev/null || {
    echo "bench: no wrk on the PATH (Debian: apt-get install wrk)" >&2
    exit 1
}
tools/install.sh bench-venv
cargo build --release --package onerun-cli
target=$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
exec .tools/bench-venv/bin/python bench/bench.py --onerun "$target/release/onerun" "$@"
