#!/usr/bin/env bash
# Installs what the suites need beyond Rust, on a Debian machine as root. It looks first and does nothing where all is there;
# where it may not install, it names what is missing and leaves the choice of tier to the suites.
set -euo pipefail

missing=()
need() { # need PACKAGE CHECK...
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
PATH=$PATH:/usr/sbin:/sbin
need gcc command -v cc
need libc6-dev test -e "/usr/lib/$(uname -m)-linux-gnu/libc.a"
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
need curl command -v curl
need python3 command -v python3
need python3-venv python3 -c 'import ensurepip, venv'
need util-linux command -v nsenter
need iproute2 command -v ip
need containerd command -v containerd
need runc command -v runc
need containernetworking-plugins test -x /usr/lib/cni/bridge
need nftables command -v nft
need iptables command -v iptables

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, and not installable here (that takes root and apt-get): ${missing[*]}" >&2
    exit 0
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
