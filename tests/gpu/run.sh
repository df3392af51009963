#!/usr/bin/env bash
# Everything that needs a GPU, in a few minutes, on a machine that has one and need not have Rust; one report.
#
#   tests/gpu/run.sh --pack      on a machine that builds: puts the programs into tests/gpu/carried (git ignores it). For one kind of GPU,
#                                and so much smaller: CUDA_COMPUTE_CAP=90 CANDELA_CUDA_ARCHITECTURES=90a tests/gpu/run.sh --pack
#   tests/gpu/run.sh [REPORT]    on the machine with the GPU, with that folder in its place; without it nvcc's part alone is run
#
# The report says of each part what it is, how it ended and what it printed. The exit status is 0 when all parts passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
carried=tests/gpu/carried

pack() {
    set -e
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
    local folder host
    folder=$(tests/setup/release.sh --cuda)
    host=$(rustc -vV | sed -n 's/^host: //p')
    rm -rf "$carried"
    mkdir -p "$carried"
    mkdir "$carried/programs"
    cp "$folder/candela-engine" "$carried/programs/"
    # Names of test programs end in hashes: cargo says which they are.
    tests/setup/cuda.sh cargo test --no-run --release --locked --target "$host" --target-dir "$CARGO_TARGET_DIR/gpu" \
        --package candela-engine --package candela-cuda --features candela-engine/cuda --test cuda --test software 2>&1 |
        tee /dev/stderr | sed -n 's|.*Executable tests/\(.*\) (\(.*\))$|\1 \2|p' |
        while read -r source program; do
            case $source in
            cuda/main.rs) cp "$program" "$carried/programs/runner" ;;
            software.rs) cp "$program" "$carried/programs/driver" ;;
            esac
        done
    tests/setup/cuda.sh cargo build --release --locked --target "$host" --target-dir "$CARGO_TARGET_DIR/gpu" \
        --package candela-engine --features candela-engine/cuda --example steps
    cp "$CARGO_TARGET_DIR/gpu/$host/release/examples/steps" "$carried/programs/"
    strip "$carried/programs/"*
    ls -l "$carried/programs"
    # What is carried to another machine had better be small.
    tar -C "$carried" -cJf "$carried/programs.tar.xz" programs
    rm -r "$carried/programs"
    ls -l "$carried"
}

# The folder with cuBLAS of CUDA 13: the toolkit's, or that of a Python package.
libraries() {
    local folder
    for folder in "${CUDA_HOME:-/usr/local/cuda}"/lib64 /usr/local/cuda-13*/lib64 \
        "$(python3 -c 'import nvidia, os; print(os.path.join(list(nvidia.__path__)[0], "cu13", "lib"))' 2>/dev/null)"; do
        if [ -e "$folder/libcublasLt.so.13" ]; then
            echo "$folder"
            return
        fi
    done
}

part() { # part NAME COMMAND...
    local name=$1 start=$SECONDS status
    shift
    printf '\n## %s\n```\n' "$name"
    "$@" 2>&1
    status=$?
    printf '```\n%s: status %d, %d s\n' "$name" "$status" $((SECONDS - start))
    [ "$status" = 0 ] || failed+=("$name")
}

if [ "${1:-}" = --pack ]; then
    pack
    exit
fi
report=${1:-gpu-report.md}
failed=()
export CANDELA_GPU=1
{
    printf '# GPU report, %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
    part "The machine" nvidia-smi
    part "Kernels against their references, and their times" inference/cuda/tests/kernels/run.sh --gpu
    if [ -e "$carried/programs.tar.xz" ]; then
        programs=$(mktemp -d)
        trap 'rm -rf "$programs"' EXIT
        tar -C "$programs" --strip-components=1 -xJf "$carried/programs.tar.xz"
        LD_LIBRARY_PATH=$(libraries):${LD_LIBRARY_PATH:-}
        export LD_LIBRARY_PATH CANDELA_ENGINE=$programs/candela-engine
        part "Driver, graphs and cuBLAS as the engine calls them" "$programs/driver" --test-threads=1
        part "The runner: every family against the processors, graphs, batches, draws; the engine with the demo model" \
            "$programs/runner" --test-threads=1 --nocapture
        part "Decoding and prompts of 8 billion weights, beside transformers" python3 tests/gpu/targets.py --steps "$programs/steps"
        part "From start to first token" python3 tests/gpu/start.py --engine "$programs/candela-engine"
    else
        printf '\nThere is no %s: `tests/gpu/run.sh --pack` makes it on a machine that builds. The runner was not run.\n' "$carried"
        failed+=("no programs were carried here")
    fi
    printf '\n## Summary\n'
    if [ ${#failed[@]} = 0 ]; then echo "all parts passed"; else printf 'failed: %s\n' "${failed[@]}"; fi
} > >(tee "$report") 2>&1
[ ${#failed[@]} = 0 ]
