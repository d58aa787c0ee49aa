#!/usr/bin/env bash
# Regenerates the Python lock files from their `.in` files: every package with the hashes of its files, for every platform
# and Python 3.11 or newer. Locked versions stay unless the `.in` file requires others. Packages in an `.excludes` file beside
# it are not installed.
# Usage: tools/lock.sh [LOCK…]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/versions.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV"
[ $# -gt 0 ] || set -- tools/requirements.lock tools/aws-requirements.lock tools/models-requirements.lock \
    bench/requirements.txt bench/lambda/requirements.txt
for lock in "$@"; do
    source=${lock%.*}.in
    excludes=()
    [ ! -f "${lock%.*}.excludes" ] || excludes=(--excludes "${lock%.*}.excludes")
    # No header: uv's contains options of this machine, such as its registry.
    "$dir/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --no-annotate "${excludes[@]}" --output-file "$lock" "$source"
    sed -i "1i # $(basename "$source") and everything it pulls in, with hashes; written by tools/lock.sh." "$lock"
    echo "lock: $lock"
done
