#!/usr/bin/env bash
# Checks structured outputs of the built engine with validators that others wrote, at temperatures up to 5:
#   tests/structured/run.sh --engine target/release/candela-engine
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$("$here/../setup/venv.sh" structured "$here/requirements.txt")
exec "$venv/bin/python" "$here/check.py" "$@"
