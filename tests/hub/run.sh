#!/usr/bin/env bash
# Shows that the hub of the download tests speaks the protocol of hubs, with a client that others wrote: huggingface_hub downloads
# the demo model from it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
venv=$("$here/../setup/venv.sh" hub "$here/requirements.txt")
cd "$here/../.."
cargo build --quiet --locked --package candela-engine --bin candela-engine --example hub
exec "$venv/bin/python" "$here/client.py" "$CARGO_TARGET_DIR/debug" inference/models/demo
