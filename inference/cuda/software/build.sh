#!/bin/bash
# Builds the software device: libcuda.so.1 with every kernel of ../kernels compiled in, libcublas and libcublasLt, by g++ alone; prints
# the folder. With it in LD_LIBRARY_PATH a program that looks for a GPU finds this one. Usage: build.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}/software-device
# By content: several checkouts share the cache, and their files' times say nothing of each other.
content=$(cd "$here/.." && find software kernels -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16)
out=${1:-$cache/$content}
mkdir -p "$out/objects"
find "$cache" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + 2>/dev/null || true
touch "$out"
# Each operation is rounded; what C++ leaves undefined ends the process.
flags=(-std=c++20 -O2 -g1 -fPIC -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Werror -Wno-unknown-pragmas
       -fno-strict-aliasing "-I$here" "-I$here/include")
checks=(-fsanitize=undefined -fsanitize-undefined-trap-on-error)
rules=$out/objects/rules.mk
{
    echo "all: $out/libcuda.so.1 $out/libcublas.so.13 $out/libcublasLt.so.13"
    device="block memory stream driver driver_memory driver_streams"
    objects=""
    for name in $device blas blas_lt product; do
        echo "$out/objects/$name.o: $here/$name.cpp \$(wildcard $here/*.h)"
        echo "	g++ ${flags[*]} -c $here/$name.cpp -o \$@"
    done
    for source in "$here"/../kernels/*.cu; do
        name=$(basename "$source" .cu)
        objects+=" $out/objects/kernel_$name.o"
        echo "$out/objects/kernel_$name.o: $source \$(wildcard $here/../kernels/*.cuh $here/*.h $here/include/*.h)"
        echo "	g++ ${flags[*]} ${checks[*]} -x c++ -include device.h -c $source -o \$@"
    done
    for name in $device; do objects+=" $out/objects/$name.o"; done
    echo "$out/libcuda.so.1:$objects"
    echo "	g++ -shared -Wl,-soname,libcuda.so.1 -o \$@ $objects"
    for library in cublas:blas cublasLt:blas_lt; do
        file=$out/lib${library%:*}.so.13
        objects="$out/objects/${library#*:}.o $out/objects/product.o"
        echo "$file: $objects $out/libcuda.so.1"
        echo "	g++ -shared -Wl,-soname,$(basename "$file") -o \$@ $objects $out/libcuda.so.1"
    done
} > "$rules"
make -s -j"${CARGO_BUILD_JOBS:-$(nproc)}" -f "$rules" all >&2
echo "$out"
