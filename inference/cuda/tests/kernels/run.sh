#!/bin/bash
# Runs the tests of the kernels on the software device, in several orders of the threads, which must give the same; or on the GPU whose
# driver the loader finds, with `--gpu`: the kernels are compiled by nvcc for its kind first, and measured after the tests.
# Usage: run.sh [--gpu] [part of a test's name]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${CANDELA_CACHE:-$HOME/.cache/candela}/kernel-tests
mkdir -p "$out/cubin"
flags=(-std=c++20 -O2 -Wall -Wextra -Werror -Wno-free-nonheap-object)
g++ "${flags[@]}" -o "$out/kernels" "$here"/{check,gpu,rows,attention,sampling,experts,quantized,graphs}.cpp -ldl
g++ "${flags[@]}" -o "$out/measure" "$here"/{measure,gpu}.cpp -ldl
if [ "${1:-}" = --gpu ]; then
    kind=${CANDELA_GPU_KIND:-sm_90}
    for source in "$here"/../../kernels/*.cu; do
        cubin=$out/cubin/$(basename "$source" .cu).cubin
        "${CUDA_HOME:+$CUDA_HOME/bin/}nvcc" -std=c++17 -O3 --expt-relaxed-constexpr "-arch=$kind" -cubin -o "$cubin" "$source"
    done
    export CANDELA_KERNELS=$out/cubin
    "$out/kernels" "${@:2}"
    exec "$out/measure"
fi
LD_LIBRARY_PATH=$("$here/../../software/build.sh")
export LD_LIBRARY_PATH
declare -A runs
for order in forward backward 7; do
    SOFTWARE_DEVICE_ORDER=$order "$out/kernels" "$@" > "$out/$order.log" 2>&1 &
    runs[$!]=$order
done
failed=0
# A host that reads before it has waited.
SOFTWARE_DEVICE_STREAMS=late "$out/kernels" "graph" || failed=1
for run in "${!runs[@]}"; do
    wait "$run" || failed=1
    echo "threads ${runs[$run]}"
    cat "$out/${runs[$run]}.log"
done
exit "$failed"
