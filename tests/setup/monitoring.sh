#!/usr/bin/env bash
# Prints the folder of the Prometheus operator's CustomResourceDefinitions, which its Go module carries.
set -euo pipefail
module=github.com/prometheus-operator/prometheus-operator@v0.85.0
# What go.sum would say: the module is the same everywhere and always.
sum=h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=

go=$("$(dirname "${BASH_SOURCE[0]}")/go.sh")
read -r folder has < <(cd / && "$go" mod download -json "$module" |
    python3 -c 'import json, sys; module = json.load(sys.stdin); print(module["Dir"], module["Sum"])')
if [ "$has" != "$sum" ]; then
    echo "$module has the sum $has, not $sum" >&2
    exit 1
fi
echo "$folder/example/prometheus-operator-crd"
