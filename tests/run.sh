#!/usr/bin/env bash
# Runs every check of the repository, one section after another, and ends with how many tests passed and failed.
# A failed section does not stop the others; the exit status is 0 only when nothing failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
export CANDELA_CACHE=${CANDELA_CACHE:-$HOME/.cache/candela}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

logs=$(mktemp -d "${TMPDIR:-/tmp}/candela-test.XXXXXX")
trap 'rm -rf "$logs"' EXIT
passed=0
failed=0
summary=()

# Adds up what a section's log says: cargo's "test result" lines, or a line "N passed, M failed". A section that counts nothing
# is one test itself.
tally() { # tally LOG STATUS
    read -r section_passed section_failed < <(awk '
        /^test result: / { for (i = 2; i < NF; i++) { if ($(i+1) == "passed;") p += $i; if ($(i+1) == "failed;") f += $i } }
        /^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
        END { print p + 0, f + 0 }' "$1")
    if [ "$2" != 0 ] && [ "$section_failed" = 0 ]; then section_failed=1; fi
    if [ "$2" = 0 ] && [ "$section_passed" = 0 ]; then section_passed=1; fi
}

section() { # section NAME COMMAND...
    local name=$1 log="$logs/section" start=$SECONDS status
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    tally "$log" "$status"
    passed=$((passed + section_passed))
    failed=$((failed + section_failed))
    local line
    line=$(printf '%-12s %5d s  %4d passed  %3d failed' "$name" $((SECONDS - start)) "$section_passed" "$section_failed")
    summary+=("$line")
    printf -- '--- %s\n' "$line"
    if [ "$status" != 0 ]; then why "$name" "$log" >>"$logs/why"; fi
    return "$status"
}

# Why a section failed: each error of its log with the lines behind it, backtraces aside, which a long log buries.
why() { # why NAME LOG
    printf '\n=== why %s failed\n' "$1"
    awk '
        /[Ss]tack backtrace:$/ || /^ +[0-9]+: (<|[a-z_0-9]+::)/ || /^ +at / { next }
        /^Error:|^error|panicked at|^FAILED|^FAIL:|^AssertionError|^thread / { left = 12 }
        left > 0 { print; left-- }' "$2" | cut -c1-2000 | tail -n 60
}

build_release() {
    tests/setup/release.sh >"$logs/programs" &&
        CANDELA_PROGRAMS=$(cat "$logs/programs") tests/setup/images.sh >"$logs/images"
}

parity() {
    tests/parity/run.sh --engine "$CANDELA_PROGRAMS/candela-engine" --logits "$(tests/setup/logits.sh)"
}

templates() {
    cargo build --locked --workspace --example render &&
        tests/parity/run.sh --suite tests/parity/templates.py --render "$CARGO_TARGET_DIR/debug/examples/render"
}

long_context() {
    tests/parity/run.sh --suite tests/parity/long_context.py --engine "$CANDELA_PROGRAMS/candela-engine"
}

quantization() {
    tests/parity/run.sh --suite tests/parity/quantization.py --engine "$CANDELA_PROGRAMS/candela-engine" --logits "$(tests/setup/logits.sh)"
}

sampling() {
    tests/parity/run.sh --suite tests/parity/sampling.py --engine "$CANDELA_PROGRAMS/candela-engine"
}

gguf() {
    tests/gguf/run.sh --engine "$CANDELA_PROGRAMS/candela-engine" --logits "$(tests/setup/logits.sh)"
}

embeddings() {
    tests/embeddings/run.sh --engine "$CANDELA_PROGRAMS/candela-engine"
}

clients() {
    tests/clients/run.sh --engine "$CANDELA_PROGRAMS/candela-engine"
}

openapi() {
    tests/openapi/run.sh "$CANDELA_PROGRAMS/candela-engine"
}

structured() {
    tests/structured/run.sh --engine "$CANDELA_PROGRAMS/candela-engine"
}

demo() {
    "$CANDELA_PROGRAMS/candela-operator" local -f docs/examples/demo.yaml --once
}

chart() {
    tests/chart/run.sh "$CANDELA_PROGRAMS"
}

# The engine for GPUs, as far as a machine without one goes: it compiles, kernels included; on machines that a driver of the tests plays
# the program says what is missing; on a device of software models give what they give on the processors. Of the whole workspace, so that
# all but what knows of CUDA is taken from the sections before.
cuda() {
    local selected=(--locked --workspace --features candela-engine/cuda)
    tests/setup/cuda.sh cargo clippy "${selected[@]}" --all-targets -- -D warnings &&
        tests/setup/cuda.sh cargo build "${selected[@]}" --example devices &&
        tests/setup/cuda.sh cargo test "${selected[@]}" --test machines --test software --test cuda &&
        tests/setup/cuda.sh cargo test "${selected[@]}" --lib -- model::cuda model::device model::weights
}

cluster() {
    cat "$logs/kubernetes"
    [ "$kubernetes_status" = 0 ] || return 1
    RUST_LIB_BACKTRACE=0 cargo test --locked --workspace --test cluster -- --nocapture
}

tests/setup/own_target.sh
section setup tests/setup/install.sh
# Compiled while cargo compiles, at a lower priority; most of the time it is in the cache already.
tests/bed/kube/build.sh >"$logs/kubernetes" 2>&1 &
kubernetes_build=$!

section format cargo fmt --all --check
section clippy cargo clippy --locked --workspace --all-targets --test cluster -- -D warnings
section deny tests/setup/deny.sh
section workspace cargo test --locked --workspace --no-fail-fast
section hub tests/hub/run.sh
section bench tests/bench/run.sh --self-test
section templates templates
if section release build_release; then
    CANDELA_PROGRAMS=$(cat "$logs/programs")
    CANDELA_IMAGES=$(cat "$logs/images")
    export CANDELA_PROGRAMS CANDELA_IMAGES
    section demo demo
    section openapi openapi
    section parity parity
    section long-context long_context
    section sampling sampling
    section quantization quantization
    section gguf gguf
    section embeddings embeddings
    section clients clients
    section structured structured
    wait "$kubernetes_build"
    kubernetes_status=$?
    section conformance tests/setup/conformance.sh
    section chart chart
    section cluster cluster
fi
section kernels inference/cuda/tests/kernels/run.sh
# On a new machine it compiles for a quarter of an hour, for which a slow one has no time left; CANDELA_TEST_CUDA=1 runs it whatever the time.
if [ -n "${CANDELA_TEST_CUDA:-}" ] || [ "$SECONDS" -lt 3000 ]; then
    section cuda cuda
else
    summary+=("cuda          not run: 50 minutes are over, and CANDELA_TEST_CUDA=1 was not given")
fi

printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
cat "$logs/why" 2>/dev/null
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
