#!/bin/sh
# Runs the embeddings suite: the engine against sentence-transformers and transformers.
#   tests/embeddings/run.sh --engine target/release/candela-engine
# The Python environment adds requirements.txt to the parity suite's, whose packages it sees; it is made once per content of
# both lists, under $CANDELA_CACHE.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
parity=$("$here/../parity/run.sh" --prepare)
venv=$cache/embeddings-${parity##*parity-}-$(sha256sum <"$here/requirements.txt" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
    echo "embeddings: installing $here/requirements.txt into $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    packages='import sysconfig; print(sysconfig.get_paths()["purelib"])'
    "$parity/bin/python" -c "$packages" >"$("$venv/bin/python" -c "$packages")/parity.pth"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$venv/bin/python" "$here/run.py" "$@"
