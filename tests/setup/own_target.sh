#!/usr/bin/env bash
# Forgets what another clone built of this workspace, where clones share a target folder: cargo gives it the same names, and takes
# it for this clone's when it is newer than the sources here. What was built of dependencies stays.
set -euo pipefail
target=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
[ "$(cat "$target/.clone" 2>/dev/null || true)" = "$clone" ] && exit 0
if [ -d "$target" ]; then
    find "$target" -type d -path '*/.fingerprint/candela-*' -prune -exec rm -rf {} +
fi
mkdir -p "$target"
echo "$clone" >"$target/.clone"
