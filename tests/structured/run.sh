#!/usr/bin/env bash
# Checks structured outputs of the built engine with validators that others wrote, at temperatures up to 5:
#   tests/structured/run.sh --engine target/release/candela-engine
# The Python environment is made once per content of requirements.txt, under $CANDELA_CACHE (default ~/.cache/candela).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
venv=$cache/structured-$version-$(sha256sum <"$here/requirements.txt" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
    echo "structured: installing $here/requirements.txt into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi
exec "$venv/bin/python" "$here/check.py" "$@"
