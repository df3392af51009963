# What a person types. CARGO_TARGET_DIR and CANDELA_CACHE say where things are built and kept; both default to the user's cache.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/candela/target
export CANDELA_CACHE ?= $(HOME)/.cache/candela
FUZZ_SECONDS ?= 600
SERVICES ?= 1000
SOAK_MINUTES ?= 10
NODES ?= 1

.PHONY: demo test images cuda images-gpu bed soak fuzz slow-peers bench bench-stats bench-parts bench-instructions bench-operator help

help:
	@echo 'make demo    serve docs/examples/demo.yaml on this machine and ask it a question'
	@echo 'make test    run every test; on a bare Debian machine as root that includes a real Kubernetes'
	@echo 'make images  build the container images of both programs'
	@echo 'make cuda    build the engine for NVIDIA GPUs; needs no GPU, and brings the compiler'
	@echo 'make images-gpu  build the container image of that engine'
	@echo 'make fuzz    run every fuzz target, FUZZ_SECONDS each (600)'
	@echo 'make slow-peers  what a good client sees beside a thousand slow ones'
	@echo 'make bench   measure the engine beside vLLM and llama.cpp; BENCH="--quick" to see that it runs'
	@echo 'make bench-stats  what stats cost: throughput with them on over off, in pairs; bench-instructions counts instructions'
	@echo 'make bench-parts MODEL=...  where the time of a decode step goes'
	@echo 'make bench-operator  what the operator takes for SERVICES (1000) services: time to children, memory, calls; SERVICES=10000'
	@echo 'make bed     start the real Kubernetes of the tests, to work with by hand; NODES=2 for two nodes'
	@echo 'make soak    the operator through faults that last, SOAK_MINUTES each (10)'

demo:
	@programs=$$(tests/setup/release.sh) && exec "$$programs/candela-operator" local -f docs/examples/demo.yaml

test:
	@tests/run.sh

images:
	@tests/setup/images.sh

# The compiler takes 1.2 GB under CANDELA_CACHE. CANDELA_CUDA_ARCHITECTURES="90a" makes kernels for one kind of GPU, and faster.
cuda:
	@tests/setup/release.sh --cuda

images-gpu:
	@tests/setup/images.sh --gpu

# Two targets at a time. Needs the nightly toolchain and a C++ compiler.
fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/setup/fuzz.sh

slow-peers:
	@programs=$$(tests/setup/release.sh) && python3 tests/abuse/slow_peers.py "$$programs/candela-engine"

# Takes 8 GB of disk under CANDELA_CACHE, and an otherwise idle machine for an hour.
bench:
	@tests/bench/run.sh $(BENCH)

bench-stats:
	@programs=$$(tests/setup/release.sh) && python3 tests/bench/stats_overhead.py "$$programs/candela-engine" $(BENCH)

# SERVICES many (1000), on a control plane of its own; 10000 take half an hour.
bench-operator:
	@programs=$$(tests/setup/release.sh) && kubernetes=$$(tests/bed/kube/build.sh) && \
		cargo build --quiet --locked --package candela-tests --bin bed && \
		python3 tests/bench/operator_scale.py --operator "$$programs/candela-operator" --bed "$(CARGO_TARGET_DIR)/debug/bed" \
		--kubernetes "$$kubernetes" --services $(SERVICES)

# Needs valgrind.
bench-instructions:
	@tests/bench/callgrind.sh

# Needs perf. The engine of this profile has its symbols.
bench-parts:
	@cargo build --quiet --locked --profile bench --package candela-engine --bin candela-engine --example engine_loop
	@python3 tests/bench/step_parts.py "$(CARGO_TARGET_DIR)/release/candela-engine" "$(or $(MODEL),builtin://demo)" $(BENCH)

bed:
	@tests/setup/install.sh
	@cargo build --quiet --locked --package candela-tests --bin bed
	@programs=$$(tests/bed/kube/build.sh) && exec "$(CARGO_TARGET_DIR)/debug/bed" up --nodes $(NODES) --programs "$$programs" $(IMAGES)

# What `make test` does for a minute each: a steady state without a write, and an API server that is away.
soak:
	@tests/setup/install.sh
	@CANDELA_SOAK=$(SOAK_MINUTES) cargo test --locked --package candela-tests --test cluster -- --nocapture faults
