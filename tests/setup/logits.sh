#!/usr/bin/env bash
# Builds the example that writes a model's logits, for the suites that compare them, and prints where it is. As tests are
# built, not optimised: beside the release programs it would bring the tests' dependencies, and their features, into them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
tests/setup/own_target.sh
cargo build --locked --workspace --example logits >&2
echo "$CARGO_TARGET_DIR/debug/examples/logits"
