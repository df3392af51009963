#!/usr/bin/env bash
# Holds the chart to what its README says: renders it in every variant that matters, has a real API server judge each, has promtool
# judge rules and alerts, and runs every query of the dashboard in a Prometheus that scrapes a real engine and a real operator.
#   tests/chart/run.sh [FOLDER OF PROGRAMS] [ARGUMENT OF PYTEST...]
# Without a folder both programs are built here, not optimised. What is needed comes from registries and is kept in the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
venv=$("$here/../setup/venv.sh" chart "$here/requirements.txt")
prometheus=$("$here/../setup/prometheus.sh")
definitions=$("$here/../setup/monitoring.sh")
kubernetes=$("$here/../bed/kube/build.sh")
cd "$here/../.."
cargo build --quiet --locked --package candela-tests --bin bed
programs=${1:-}
if [ -z "$programs" ]; then
    cargo build --quiet --locked --package candela-engine --bin candela-engine --package candela-operator --bin candela-operator
    programs=$CARGO_TARGET_DIR/debug
fi
cd "$here"
exec "$venv/bin/python" -m pytest --programs="$programs" --bed="$CARGO_TARGET_DIR/debug/bed" --kubernetes="$kubernetes" \
    --prometheus="$prometheus" --definitions="$definitions" "${@:2}"
