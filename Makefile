# What a person types. CARGO_TARGET_DIR and CANDELA_CACHE say where things are built and kept; both default to the user's cache.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/candela/target
export CANDELA_CACHE ?= $(HOME)/.cache/candela

.PHONY: demo test images bed help

help:
	@echo 'make demo    serve docs/examples/demo.yaml on this machine and ask it a question'
	@echo 'make test    run every test; on a bare Debian machine as root that includes a real Kubernetes'
	@echo 'make images  build the container images of both programs'
	@echo 'make bed     start the real Kubernetes of the tests, to work with by hand'

demo:
	@programs=$$(tests/setup/release.sh) && exec "$$programs/candela-operator" local -f docs/examples/demo.yaml

test:
	@tests/run.sh

images:
	@tests/setup/images.sh

bed:
	@tests/setup/install.sh
	@cargo build --quiet --locked --package candela-tests --bin bed
	@programs=$$(tests/bed/kube/build.sh) && exec "$(CARGO_TARGET_DIR)/debug/bed" up --programs "$$programs" $(IMAGES)
