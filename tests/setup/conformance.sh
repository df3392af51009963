#!/usr/bin/env bash
# Holds a real API server to the checks that the one in memory of the operator's tests is held to: starts a control plane on
# loopback, gives it the InferenceService's definition, and runs operator/tests/conformance on both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
programs=$(tests/bed/kube/build.sh)
cargo build --quiet --locked --package candela-tests --bin bed
unset HTTPS_PROXY HTTP_PROXY https_proxy http_proxy
# It ends by itself when its standard input closes, so also with this script.
coproc bed { exec "$CARGO_TARGET_DIR/debug/bed" up --control-plane --programs "$programs"; }
kubeconfig=
while read -r line <&"${bed[0]}"; do
    case $line in
    KUBECONFIG=*) kubeconfig=${line#KUBECONFIG=} ;;
    Ctrl-D*) break ;;
    esac
done
[ -n "$kubeconfig" ] || { echo "the control plane did not come up" >&2; exit 1; }
kubectl() { "$programs/kubectl" --kubeconfig "$kubeconfig" "$@"; }
kubectl apply --filename crds/inferenceservices.yaml
kubectl wait --for=condition=Established --timeout=60s crd/inferenceservices.inference.candela.dev
CANDELA_CONFORMANCE_KUBECONFIG=$kubeconfig cargo test --locked --workspace --test conformance
