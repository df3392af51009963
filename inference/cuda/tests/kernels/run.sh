#!/bin/bash
# Runs the tests of the kernels: on the GPU whose driver the loader finds, with `--gpu FOLDER` of compiled kernels, else on the software
# device, there in several orders of the threads, which must give the same. Usage: run.sh [--gpu FOLDER] [part of a test's name]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${XDG_CACHE_HOME:-$HOME/.cache}/candela/kernel-tests
mkdir -p "$out"
declare -A runs
g++ -std=c++20 -O2 -Wall -Wextra -Werror -Wno-free-nonheap-object -o "$out/kernels" "$here"/*.cpp -ldl
if [ "${1:-}" = --gpu ]; then
    CANDELA_KERNELS=$2 exec "$out/kernels" "${@:3}"
fi
LD_LIBRARY_PATH=$("$here/../../software/build.sh")
export LD_LIBRARY_PATH
failed=0
for order in forward backward 7; do
    SOFTWARE_DEVICE_ORDER=$order "$out/kernels" "$@" > "$out/$order.log" 2>&1 &
    runs[$!]=$order
done
for run in "${!runs[@]}"; do
    wait "$run" || failed=1
    echo "threads ${runs[$run]}"
    cat "$out/${runs[$run]}.log"
done
exit "$failed"
