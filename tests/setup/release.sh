#!/usr/bin/env bash
# Builds candela-engine and candela-operator optimised, once for the demo, the images and the suites alike, and prints the
# folder they are in. They are linked statically where the machine can do that, so that they run in an empty image.
# With --cuda it builds the engine for GPUs instead, in a folder of its own; `tests/setup/cuda.sh` brings the compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
tests/setup/own_target.sh
host=$(rustc -vV | sed -n 's/^host: //p')

# A static program cannot load CUDA's libraries, so this one is not.
if [ "${1:-}" = --cuda ]; then
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/gpu
    tests/setup/own_target.sh
    tests/setup/cuda.sh cargo build --release --locked --target "$host" --package candela-engine --features cuda >&2
    echo "$CARGO_TARGET_DIR/$host/release"
    exit
fi

# Only with --target do build scripts and procedural macros stay dynamic, as they must.
if [[ $host == *-linux-gnu ]] && echo 'int main(void) { return 0; }' | cc -static -x c - -o /dev/null 2>/dev/null; then
    variable=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_RUSTFLAGS
    export "$variable=-C target-feature=+crt-static"
fi
cargo build --release --locked --target "$host" --package candela-engine --package candela-operator >&2
echo "$CARGO_TARGET_DIR/$host/release"
