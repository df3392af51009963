#!/usr/bin/env bash
# Prints the folder of a suite's Python environment, with the packages of requirements.txt in it. It is made once per content of that
# file, under $CANDELA_CACHE (default ~/.cache/candela); PYTHON names the interpreter (3.11 or later).
#   tests/setup/venv.sh parity tests/parity/requirements.txt
set -euo pipefail
name=$1 requirements=$2
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
venv=$cache/$name-$version-$(sha256sum <"$requirements" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
    echo "$name: installing $requirements into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv" >&2 || {
        echo "$name: $python cannot make a virtual environment; on Debian install python3-venv" >&2
        exit 1
    }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    touch "$venv/complete"
fi
echo "$venv"
