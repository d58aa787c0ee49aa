#!/usr/bin/env bash
# Installs pinned tools into .tools/; see tools/README.md. Usage: tools/install.sh [venv|bench-venv|bench-lambda-venv|aws|models|nextest|deny|sbom|fuzz|dynamodb|browser]...
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/versions.sh

fail() {
    echo "tools: $*" >&2
    exit 1
}

# A virtual environment in .tools/$1 with the packages of the lock file $2. The copy of the lock inside is written last,
# so that an interrupted or outdated environment is rebuilt.
venv() {
    local dir=.tools/$1 lock=$2
    cmp -s "$lock" "$dir/installed.lock" && return
    command -v python3 >/dev/null || fail "no python3 on the PATH"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3 is older than 3.11"
    echo "tools: $lock into $dir"
    rm -rf "$dir"
    # The shell may remember the python3 of the deleted environment, which make puts first on the PATH.
    hash -r
    mkdir -p .tools
    python3 -m venv "$dir" || fail "python3 has no venv (Debian: apt-get install python3-venv)"
    # The lock has every package with its hashes, so nothing else is resolved or built.
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
        -r "$lock"
    cp "$lock" "$dir/installed.lock"
}

# Whether version $1 is at least version $2.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# The cargo plugin $1 at version $2 or newer; further arguments go to `cargo install`.
plugin() {
    local name=$1 wanted=$2 found
    shift 2
    # "cargo-deny 0.20.2" or "cargo-nextest 0.9.143 (60fa45f63 2026-08-04)"
    found=$(PATH="$PWD/.tools/bin:$PATH" "$name" --version 2>/dev/null | awk 'NR == 1 { print $2 }') || found=
    [ -n "$found" ] && at_least "$found" "$wanted" && return
    echo "tools: $name $wanted into .tools/bin (a few minutes, once)"
    # A separate target directory, so that the workspace's stays unchanged. Unoptimised: compiling a plugin takes longer
    # than it ever runs here.
    CARGO_TARGET_DIR=$PWD/.tools/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 \
        cargo install --debug --locked --quiet --root .tools "$@" "$name@$wanted"
    rm -rf .tools/target
}

# Amazon's DynamoDB Local, for tools/dynamodb.sh.
dynamodb() {
    local dir=.tools/dynamodb archive
    [ "$(cat "$dir/installed" 2>/dev/null)" = "$DYNAMODB_LOCAL_SHA256" ] && return
    command -v npm >/dev/null || fail "no npm on the PATH (Debian: apt-get install npm)"
    echo "tools: DynamoDB Local into $dir"
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new"
    (cd "$dir.new" && npm pack --silent "amplify-dynamodb-simulator@$DYNAMODB_LOCAL" >/dev/null)
    archive=$dir.new/amplify-dynamodb-simulator-$DYNAMODB_LOCAL.tgz
    echo "$DYNAMODB_LOCAL_SHA256  $archive" | sha256sum --check --quiet || fail "the checksum of DynamoDB Local is wrong"
    tar -xzf "$archive" -C "$dir.new" --strip-components=2 package/emulator
    rm "$archive"
    mv "$dir.new" "$dir"
    echo "$DYNAMODB_LOCAL_SHA256" >"$dir/installed"
}

# npm packages that drive a browser. As root on Debian, the browser is installed, too, if there is none.
browser() {
    local dir=.tools/browser lock=tools/browser/package-lock.json
    command -v npm >/dev/null || fail "no npm on the PATH (Debian: apt-get install npm)"
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || fail "node is older than 20"
    if ! cmp -s "$lock" "$dir/installed.lock"; then
        echo "tools: $lock into $dir"
        rm -rf "$dir"
        mkdir -p "$dir"
        cp tools/browser/package.json "$lock" "$dir"
        (cd "$dir" && npm ci --silent --no-audit --no-fund --ignore-scripts)
        cp "$lock" "$dir/installed.lock"
    fi
    [ -n "${CHROMIUM:-}" ] || [ -x /usr/bin/chromium ] && return
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
        fail "no Chromium (Debian: apt-get install chromium; elsewhere, set CHROMIUM to its path)"
    echo "tools: Chromium and fonts from Debian's packages (once)"
    export DEBIAN_FRONTEND=noninteractive
    # Some views are tested with wide characters and emoji, which these fonts have.
    local packages=(chromium fonts-droid-fallback fonts-noto-color-emoji)
    { apt-get update && apt-get install --yes --no-install-recommends "${packages[@]}"; } >"$dir/chromium.log" 2>&1 ||
        fail "not installed: $(tail -n 3 "$dir/chromium.log")"
}

[ $# -gt 0 ] || set -- venv nextest deny
for tool in "$@"; do
    case $tool in
    venv) venv venv tools/requirements.lock ;;
    bench-venv) venv bench-venv bench/requirements.txt ;;
    bench-lambda-venv) venv bench-lambda-venv bench/lambda/requirements.txt ;;
    aws) venv aws tools/aws-requirements.lock ;;
    models) venv models tools/models-requirements.lock ;;
    # Without self-update, which would replace the pinned version.
    nextest) plugin cargo-nextest "$CARGO_NEXTEST" --no-default-features --features default-no-update ;;
    deny) plugin cargo-deny "$CARGO_DENY" ;;
    sbom) plugin cargo-sbom "$CARGO_SBOM" ;;
    fuzz) plugin cargo-fuzz "$CARGO_FUZZ" ;;
    dynamodb) dynamodb ;;
    browser) browser ;;
    *) fail "unknown tool: $tool" ;;
    esac
done
