#!/usr/bin/env bash
# Checks licences, sources and bans of every dependency with cargo-deny, which is built once into the cache where it is missing.
# Advisories are checked where their database can be reached, and said to be skipped where it cannot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
release=0.20.2
tools=${CANDELA_CACHE:-$HOME/.cache/candela}/tools/cargo-deny-$release

if [ ! -x "$tools/bin/cargo-deny" ]; then
    echo "building cargo-deny $release, once" >&2
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --root "$tools" "cargo-deny@$release" >&2
    rm -rf "$tools/target"
fi
"$tools/bin/cargo-deny" --log-level warn check bans licenses sources
if "$tools/bin/cargo-deny" --log-level error fetch db >/dev/null 2>&1; then
    "$tools/bin/cargo-deny" --log-level warn check advisories
else
    echo "advisories: skipped, their database cannot be reached from here"
fi
