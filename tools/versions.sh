# Versions of the tools that tests and lints need, for tools/install.sh. The toolchain itself is in rust-toolchain.toml,
# Python packages are in requirements.lock.
CARGO_NEXTEST=0.9.143
CARGO_DENY=0.20.2
