#!/usr/bin/env bash
# Prints the folder of a CUDA 13.0 toolkit, what CUDA_HOME is to be: the one that CUDA_HOME names already, or else the compiler with the
# headers and libraries that the GPU engine is built from, from PyPI, pinned, kept under $CANDELA_CACHE. No GPU and no driver are needed.
# With a command it runs that, and sets what a build with the feature `cuda` reads:
#   tests/setup/cuda.sh cargo check --package candela-engine --features cuda
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${CUDA_HOME:-}" ]; then
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        echo "the compiler's packages here are those of Linux on x86_64: install CUDA 13.0 and set CUDA_HOME" >&2
        exit 1
    fi
    venv=$("$here/venv.sh" cuda "$here/cuda-requirements.txt")
    CUDA_HOME=$(echo "$venv"/lib/python*/site-packages/nvidia/cu13)
fi
if [ $# = 0 ]; then
    echo "$CUDA_HOME"
    exit
fi
if ! command -v c++ >/dev/null; then
    echo "nvcc needs a C++ compiler: install one (on Debian, g++)" >&2
    exit 1
fi
# candle's own kernels are compiled for one architecture. It is the oldest that they run on, and its portable code goes with them, which
# the driver of a newer GPU compiles when they are first used. CUDA_COMPUTE_CAP=90 makes a program for one kind of GPU that need not.
if [ -z "${CUDA_COMPUTE_CAP:-}" ]; then
    export CUDA_COMPUTE_CAP=80 NVCC_APPEND_FLAGS="${NVCC_APPEND_FLAGS:-} -gencode=arch=compute_80,code=compute_80"
fi
# cudarc asks the nvcc on PATH otherwise, and candle's kernels take half of the processors.
CUDARC_CUDA_VERSION=$(sed -n 's/^#define CUDA_VERSION \([0-9]*\).*/\1/p' "$CUDA_HOME/include/cuda.h")
CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}
CANDELA_CACHE=${CANDELA_CACHE:-$HOME/.cache/candela}
export CUDA_HOME CUDARC_CUDA_VERSION CUDAFORGE_THREADS CANDELA_CACHE NVCC=$here/nvcc.sh
exec "$@"
