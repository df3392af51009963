#!/usr/bin/env bash
# Runs every fuzz target, two at a time, and says what each did: executions, new inputs, findings.
# FUZZ_SECONDS is how long each runs. What a run learns stays in the cache and out of the repository; a
# finding is copied to inference/fuzz/artifacts, to be fixed and added to the corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../inference"
release=0.13.2
seconds=${FUZZ_SECONDS:-600}
cache=${CANDELA_CACHE:-$HOME/.cache/candela}/fuzz
built=${CARGO_FUZZ_TARGET_DIR:-$cache/target}
targets=(body stream safetensors template tokenizer)

tools=${CANDELA_CACHE:-$HOME/.cache/candela}/tools/cargo-fuzz-$release
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
    echo "building cargo-fuzz $release, once" >&2
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --root "$tools" "cargo-fuzz@$release" >&2
    rm -rf "$tools/target"
fi
export PATH="$tools/bin:$PATH"
mkdir -p "$cache"
# All of it is safe Rust, so no sanitizer: twice the executions. Assertions and overflow checks are on.
build=(--sanitizer none --target-dir "$built")
cargo +nightly fuzz build "${build[@]}"

run() {
    local target=$1 log=$cache/$1.log status=0 begun=$SECONDS
    local artifacts=$PWD/fuzz/artifacts/$target
    mkdir -p "$cache/corpus/$target" "$artifacts"
    # One input takes ten seconds or two gigabytes at most; either is a finding. A finding ends its target's run.
    cargo +nightly fuzz run "${build[@]}" "$target" "$cache/corpus/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$artifacts/" >"$log" 2>&1 || status=$?
    local executions new
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    new=$(sed -n 's/^stat::new_units_added: *//p' "$log" | tail -n 1)
    local findings
    findings=$(find "$artifacts" -type f | wc -l)
    echo "$target: ${executions:-?} executions in $((SECONDS - begun)) s, ${new:-?} new inputs, $findings findings (log: $log)"
    return "$status"
}

failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
    pids=()
    for target in "${targets[@]:i:2}"; do
        run "$target" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=1
    done
done
exit "$failed"
