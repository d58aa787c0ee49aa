#!/usr/bin/env bash
# A container engine for `sam local`, and an image in which functions run. `tools/container.sh run COMMAND…` runs the
# command with the image's name in ONERUN_LAMBDA_IMAGE.
#
# An engine that runs already is used. Else, as root on Debian, one is installed, started for the command, and ended,
# however the command ends. The image is made of Debian's packages, so that no registry of images must be reached: a
# function needs glibc and nothing else, and SAM adds AWS's runtime emulator. ONERUN_LAMBDA_IMAGE may name another one,
# such as AWS's own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$PWD/.tools/container

fail() {
    echo "container: $*" >&2
    exit 1
}

[ "${1:-}" = run ] && [ $# -gt 1 ] || fail "usage: tools/container.sh run COMMAND…"
shift
# Sockets have short names only, and .tools may be far from the root.
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
        kill -0 "$engine" 2>/dev/null || fail "it ended at once: $(tail -n 3 "$dir/engine.log")"
        if is_up; then return; fi
        sleep 0.1
    done
    fail "it does not answer: $(tail -n 3 "$dir/engine.log")"
}

if ! is_up; then
    [ "$(id -u)" = 0 ] || fail "no container engine answers, and only root may start one"
    if ! command -v dockerd >/dev/null || ! command -v iptables >/dev/null; then
        command -v apt-get >/dev/null || fail "no container engine answers; start one"
        echo "container: an engine from Debian's packages (once)"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update && apt-get install --yes --no-install-recommends docker.io iptables; } >"$dir/install.log" 2>&1 ||
            fail "not installed: $(tail -n 3 "$dir/install.log")"
    fi
    # Installing it may have started it.
    is_up || start
fi

# As much of Lambda's own as functions see: glibc and the certificates of authorities. And a shell for what SAM does when it
# adds the emulator.
image() {
    local root=$run/root package tool
    command -v dpkg-deb >/dev/null || fail "set ONERUN_LAMBDA_IMAGE to an image in which functions can run"
    mkdir -p "$run/packages" "$root/bin" "$root/etc/pki/tls/certs" "$root/tmp" "$root/var/task"
    download() (
        cd "$run/packages"
        apt-get -o APT::Sandbox::User=root download libc6 libgcc-s1 ca-certificates busybox-static
    )
    # A machine that is new has no list of packages yet.
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
    # Under a name that follows from how it is made.
    export ONERUN_LAMBDA_IMAGE=onerun-lambda:$(sha256sum tools/container.sh | cut -c 1-12)
    docker image inspect "$ONERUN_LAMBDA_IMAGE" >/dev/null 2>&1 || image "$ONERUN_LAMBDA_IMAGE"
fi
"$@"
