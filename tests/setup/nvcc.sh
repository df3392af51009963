#!/usr/bin/env bash
# nvcc of $CUDA_HOME, which takes from $CANDELA_CACHE what it compiled before. candle's kernels take nine minutes of a processor, and cargo compiles
# them again whenever any feature of what their build script uses differs. The key is the compiler, its arguments and every source in the
# folder of the build.
set -euo pipefail
nvcc=$CUDA_HOME/bin/nvcc
arguments=() output='' folder='' source=''
for argument; do
    case ${previous:-} in
    -o) output=$argument ;;
    --output-directory) folder=$argument ;;
    *)
        case $argument in
        -o | --output-directory) ;;
        *.cu) source=$argument ;;
        *) arguments+=("$argument") ;;
        esac
        ;;
    esac
    previous=$argument
done
if [ -z "$source" ] || [ -z "$output$folder" ]; then
    exec "$nvcc" "$@"
fi
[ -n "$output" ] || output=$folder/$(basename "$source" .cu).ptx
key=$(
    {
        "$nvcc" --version
        echo "${arguments[@]} ${NVCC_APPEND_FLAGS:-} $source"
        find . -name '*.cu' -o -name '*.cuh' -o -name '*.h' | sort | xargs sha256sum
    } | sha256sum | cut -c1-24
)
kept=${CANDELA_CACHE:-$HOME/.cache/candela}/kernels/$(basename "$source" .cu)-$key.${output##*.}
if [ ! -e "$kept" ]; then
    "$nvcc" "$@"
    mkdir -p "$(dirname "$kept")"
    cp "$output" "$kept.$$"
    mv "$kept.$$" "$kept"
fi
cp "$kept" "$output"
