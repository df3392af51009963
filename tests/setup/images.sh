#!/usr/bin/env bash
# Writes the image archives of both programs, prints their sizes on standard error and their folder on standard output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
tag=$(cargo metadata --format-version 1 --no-deps --offline | python3 -c '
import json, sys
print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "candela-operator"))')
folder=$CARGO_TARGET_DIR/images
programs=${CANDELA_PROGRAMS:-$(tests/setup/release.sh)}
cargo build --quiet --locked --package candela-tests --bin bed >&2
mkdir -p "$folder"
for name in candela-engine candela-operator; do
    "$CARGO_TARGET_DIR/debug/bed" image --reference "registry.local/$name:$tag" \
        --program "$programs/$name" --out "$folder/$name.tar" >&2
done
echo "$folder"
