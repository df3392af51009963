#!/usr/bin/env bash
# Prints the folder of prometheus and promtool: the machine's own, or Debian's, kept in the cache. The package is unpacked rather than
# installed, since it would start a service.
set -euo pipefail
if own=$(command -v promtool) && command -v prometheus >/dev/null; then
    dirname "$own"
    exit
fi
folder=${CANDELA_CACHE:-$HOME/.cache/candela}/prometheus
if [ ! -e "$folder/complete" ]; then
    if ! command -v apt-get dpkg-deb >/dev/null; then
        echo "prometheus and promtool are not on PATH, and this is no Debian to take them from: install them" >&2
        exit 1
    fi
    echo "unpacking Debian's prometheus" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    cd "$folder"
    # Unsandboxed, apt says, where its own user may not write; the package's signature is checked all the same.
    { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >&2
    dpkg-deb -x prometheus_*.deb .
    rm prometheus_*.deb
    touch complete
fi
echo "$folder/usr/bin"
