#!/usr/bin/env bash
# A container engine and an image for functions under `sam local`. `tools/container.sh run COMMAND…` runs the command with the
# image's name in ONERUN_LAMBDA_IMAGE.
#
# A running engine is used. Otherwise, as root on Debian, one is installed, started for the command, and always stopped. The
# image is built from Debian's packages, so that no image registry is needed: a function needs only glibc, and SAM adds AWS's
# runtime emulator. ONERUN_LAMBDA_IMAGE may name another image, such as AWS's.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$PWD/.tools/container

fail() {
    echo "container: $*" >&2
    exit 1
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || fail "usage: tools/container.sh run COMMAND…"
shift
# Paths of sockets are limited in length, and that of .tools may be too long.
run=$(mktemp -d /tmp/onerun-container.XXXXXX)
mkdir -p "$dir"

engine=
cleanup() {
    if [ -n "$engine" ]; then
        kill "$engine" 2>/dev/null
        wait "$engine" 2>/dev/null || true
    fi
    rm -rf "$run"
}
trap cleanup EXIT

is_up() {
    docker info >/dev/null 2>&1
}

start() {
    dockerd --data-root "$dir/data" --exec-root "$run/exec" --pidfile "$run/pid" --host "unix://$run/sock" \
        >"$dir/engine.log" 2>&1 &
    engine=$!
    export DOCKER_HOST=unix://$run/sock
    for _ in $(seq 600); do
        kill -0 "$engine" 2>/dev/null || fail "the engine exited: $(tail -n 3 "$dir/engine.log")"
        if is_up; then return; fi
        sleep 0.1
    done
    fail "the engine does not respond: $(tail -n 3 "$dir/engine.log")"
}

if ! is_up; then
    [ "$(id -u)" = 0 ] || fail "no container engine is running, and only root can start one"
    if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
        command -v apt-get >/dev/null || fail "no container engine is running; start one"
        echo "container: an engine from Debian's packages (once)"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install --yes --no-install-recommends docker.io iptables; } >"$dir/install.log" 2>&1 ||
            fail "not installed: $(tail -n 3 "$dir/install.log")"
    fi
    # The installation may have started it.
    is_up || start
fi

# The parts of Lambda's environment that functions use: glibc and root certificates. SAM needs the shell to add the emulator.
image() {
    local root=$run/root package tool
    command -v dpkg-deb >/dev/null || fail "set ONERUN_LAMBDA_IMAGE to an image in which functions can run"
    mkdir -p "$run/packages" "$root/bin" "$root/etc/pki/tls/certs" "$root/tmp" "$root/var/task"
    download() (
        cd "$run/packages"
        apt-get -o APT::Sandbox::User=root download libc6 libgcc-s1 ca-certificates busybox-static
    )
    # A new machine has no package lists yet.
    { download || { apt-get update && download; }; } >"$dir/image.log" 2>&1 ||
        fail "no packages for the image: $(tail -n 3 "$dir/image.log")"
    for package in "$run"/packages/*.deb; do dpkg-deb --extract "$package" "$root"; done
    cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/pki/tls/certs/ca-bundle.crt"
    for tool in sh mv chmod; do ln -s busybox "$root/bin/$tool"; done
    chmod 1777 "$root/tmp"
    tar -C "$root" -c . | docker import --change 'ENV LAMBDA_TASK_ROOT=/var/task' --change 'WORKDIR /var/task' \
        - "$1" >/dev/null
}

if [ -z "${ONERUN_LAMBDA_IMAGE:-}" ]; then
    # The name depends on this script, so that a changed script builds a new image.
    export ONERUN_LAMBDA_IMAGE=onerun-lambda:$(sha256sum tools/container.sh | cut -c 1-12)
    docker image inspect "$ONERUN_LAMBDA_IMAGE" >/dev/null 2>&1 || image "$ONERUN_LAMBDA_IMAGE"
fi
"$@"
