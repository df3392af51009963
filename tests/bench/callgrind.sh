#!/usr/bin/env bash
# Counts instructions of the engine's loop with stats on and off, over a model that takes next to no time, with callgrind
# (`valgrind`, a Debian package). Each figure is the difference of a long run and a short one, so that starting, prompts and
# ending are not in it, and does not depend on what else the machine does.
# Usage: callgrind.sh [SEQUENCES...]; by default 1, 16 and 256 of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
short=64
long=192
sequences=("$@")
[ ${#sequences[@]} -gt 0 ] || sequences=(1 16 256)
command -v valgrind >/dev/null || { echo 'valgrind is missing: apt-get install valgrind' >&2; exit 1; }

cargo build --quiet --locked --profile bench --package candela-engine --example engine_loop >&2
program=$CARGO_TARGET_DIR/release/examples/engine_loop
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for count in "${sequences[@]}"; do
    for stats in off on; do
        for tokens in $short $long; do
            valgrind --quiet --tool=callgrind --callgrind-out-file="$folder/$count-$stats-$tokens" \
                "$program" "$count" "$tokens" "$stats"
        done
    done
done
python3 tests/bench/callgrind.py "$folder" $short $long "${sequences[@]}"
