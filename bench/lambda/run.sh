#!/usr/bin/env bash
# Builds the functions, hello world and the comparator, records DynamoDB's replies to them, and
# measures them; see ../README.md. Options are those of `bench_lambda measure`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=$PWD/bench/out/lambda
programs=$out/bin
certificates=$out/certificates
measured=(get_whoami get_simulation create_simulation create_response)
needed=(create_project create_agent create_objective run_jobs claim_conversations)

command -v openssl >/dev/null || {
    echo "bench: no openssl on the PATH (Debian: apt-get install openssl)" >&2
    exit 1
}
tools/install.sh bench-lambda-venv dynamodb

# A root, an intermediate and a server certificate with RSA keys of 2,048 bits, as AWS's endpoints
# have; and the bundle that functions trust: the platform's certificates, which every start must
# read, and this root.
certificates() {
    local days=365 bundle
    rm -rf "$certificates"
    mkdir -p "$certificates"
    cd "$certificates"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days $days -subj "/CN=Bench Root" \
        -addext basicConstraints=critical,CA:TRUE
    openssl req -newkey rsa:2048 -nodes -keyout middle.key -out middle.csr -subj "/CN=Bench Intermediate"
    openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -CAcreateserial -days $days -out middle.pem \
        -extfile <(echo "basicConstraints=critical,CA:TRUE,pathlen:0")
    openssl req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj "/CN=localhost"
    openssl x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -CAcreateserial -days $days -out leaf.pem \
        -extfile <(echo "subjectAltName=DNS:localhost")
    cat leaf.pem middle.pem >chain.pem
    for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        [ ! -f "$bundle" ] || cat "$bundle" root.pem >bundle.pem
    done
    [ -f bundle.pem ] || {
        echo "bench: no bundle of certificates (Debian: apt-get install ca-certificates)" >&2
        exit 1
    }
}
mkdir -p "$out"
(certificates) >"$out/certificates.log" 2>&1 || {
    tail -n 3 "$out/certificates.log" >&2
    exit 1
}

target=$(cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

# Builds packages one by one, so that none gets features that only another one needs. Copies their
# programs, because the next build replaces them.
programs() {
    local build=$1 program
    shift
    mkdir -p "$programs/$build"
    cargo build --release --package onerun-bench-hello
    cargo build --release --package onerun-functions $(printf -- '--bin %s ' "$@")
    for program in hello "$@"; do install "$target/release/$program" "$programs/$build/$program"; done
}
cargo build --release --package onerun-bench-lambda
install "$target/release/bench_lambda" "$out/bench_lambda"
rm -rf "$programs"
programs everyday "${measured[@]}" "${needed[@]}"
(
    export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 CARGO_PROFILE_RELEASE_OPT_LEVEL=s
    programs deploy "${measured[@]}"
)
python3 bench/lambda/sizes.py "$out" "$programs" .tools/bench-lambda-venv bench/lambda/python/handler.py

bench=("$out/bench_lambda" --out "$out" --certificates "$certificates" --everyday "$programs/everyday"
    --deploy "$programs/deploy" --python "$PWD/.tools/bench-lambda-venv/bin/python" --handler "$PWD/bench/lambda/python")
tools/dynamodb.sh run "${bench[@]}" record
exec "${bench[@]}" measure "$@"
