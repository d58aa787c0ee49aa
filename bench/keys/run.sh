#!/usr/bin/env bash
# Measures the check of a key in Rust and Python, alternately; see ../README.md.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$PWD/bench/out/keys
target=$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

cargo build --release --package onerun-bench-keys
rm -rf "$out"
mkdir -p "$out"
for _ in 1 2 3; do
    "$target/release/bench_key_check" >>"$out/ours.jsonl"
    python3 bench/keys/python/check.py >>"$out/python.jsonl"
done
python3 bench/keys/report.py "$out/ours.jsonl" "$out/python.jsonl" | tee "$out/tables.md"
