#!/usr/bin/env bash
# Builds the Kubernetes of the test bed, once per content of this folder, and prints the folder that holds its programs.
# The build takes about ten CPU minutes; its result lives in the cache, outside the clone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
version=$(sed -n 's/^\tk8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$here/go.mod")
key=$(cat "$here"/*.go "$here"/go.mod "$here"/go.sum "$here/build.sh" | sha256sum | cut -c1-16)
folder=$cache/bed/$key
programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl helm etcd coredns)

if [ ! -e "$folder/complete" ]; then
    mkdir -p "$folder"
    exec 9>"$folder/lock"
    flock 9 # two suites at once: one builds, the other waits and finds it done
    if [ ! -e "$folder/complete" ]; then
        go=$("$here/../../setup/go.sh")
        echo "building Kubernetes $version with $("$go" version | cut -d' ' -f3), once (about ten CPU minutes)" >&2
        (cd "$here" && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice -n 5 "$go" build -trimpath -buildvcs=false \
            -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$folder/kube" .)
        for program in "${programs[@]}"; do ln -sf kube "$folder/$program"; done
        touch "$folder/complete"
    fi
fi
echo "$folder"
