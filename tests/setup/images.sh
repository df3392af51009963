#!/usr/bin/env bash
# Writes the image archives of both programs, prints their sizes on standard error and their folder on standard output. With --gpu it is
# the archive of the engine for GPUs, candela-engine-gpu.tar.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
tag=$(cargo metadata --format-version 1 --no-deps --offline | python3 -c '
import json, sys
print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "candela-operator"))')
folder=$CARGO_TARGET_DIR/images
mkdir -p "$folder"

image() { # image NAME PROGRAM OPTION...
    local name=$1 program=$2
    shift 2
    "$CARGO_TARGET_DIR/debug/bed" image --reference "registry.local/$name:$tag" \
        --program "$program" --out "$folder/$name.tar" "$@" >&2
}

if [ "${1:-}" = --gpu ]; then
    program=${CANDELA_GPU_PROGRAMS:-$(tests/setup/release.sh --cuda)}/candela-engine
    cuda=$(tests/setup/cuda.sh)/lib
    cargo build --quiet --locked --package candela-tests --bin bed >&2
    # What the engine loads of CUDA; the driver comes from the node. Variables: where NVIDIA's container toolkit and its device plugins put the
    # driver, what of it is wanted, and a writable place for kernels that the driver compiles. Which GPUs, the device plugin says.
    options=(
        --environment LD_LIBRARY_PATH=/usr/local/cuda/lib64:/usr/local/nvidia/lib64:/usr/lib/x86_64-linux-gnu:/usr/lib64
        --environment NVIDIA_DRIVER_CAPABILITIES=compute,utility
        --environment CUDA_CACHE_PATH=/tmp/cuda-cache
    )
    libraries=("$cuda"/libcublas.so.[0-9]* "$cuda"/libcublasLt.so.[0-9]*)
    for file in "${libraries[@]}"; do
        options+=(--library "$file=/usr/local/cuda/lib64/$(basename "$file")")
    done
    # The loader and libraries of this machine's C library, and those that CUDA's take beside.
    while read -r name path; do
        case $name in
        /lib64/*) options+=(--library "$name=$name") ;;
        *) options+=(--library "$path=/lib/x86_64-linux-gnu/$name") ;;
        esac
    done < <(ldd "$program" "${libraries[@]}" | awk '
        $1 ~ /^libcublas/ { next }
        /=> \// { print $1, $3 }
        $1 ~ /ld-linux/ && !/=>/ { print $1, $1 }' | sort -u)
    image candela-engine-gpu "$program" "${options[@]}"
    echo "$folder"
    exit
fi

programs=${CANDELA_PROGRAMS:-$(tests/setup/release.sh)}
cargo build --quiet --locked --package candela-tests --bin bed >&2
for name in candela-engine candela-operator; do
    image "$name" "$programs/$name"
done
echo "$folder"
