# The commands of shard-cache. `make help` lists them.

CARGO ?= cargo
PYTHON ?= python3
SCRIPTS := .ci/run .ci/fresh deploy/image.sh chaos/check chaos/lib.sh chaos/own_cluster.sh chaos/kill.sh chaos/pause.sh \
	chaos/partition.sh chaos/heal.sh chaos/slow.sh chaos/restart.sh chaos/rolling-restart.sh chaos/scale.sh chaos/flap.sh \
	chaos/starve.sh chaos/storm.sh chaos/stranger.sh chaos/move.sh chaos/burst.sh chaos/cases.sh chaos/run.sh \
	chaos/mutants.sh chaos/smoke.sh chaos/processes chaos/figures \
	chaos/tests/interrupted.sh chaos/tests/scripts.sh chaos/tests/views.sh

# The optimised binary is linked statically where the machine has a static C library (Linux with glibc's libc.a), so
# that one and the same binary runs here and in an image without a system: STATIC=0 links it dynamically. An explicit
# target keeps the flags away from procedural macros, which cannot be static. Frame pointers are for profilers.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
LIBC_STATIC = $(filter /%,$(shell cc -print-file-name=libc.a 2>/dev/null))
STATIC ?= $(if $(and $(filter %-linux-gnu,$(HOST)),$(LIBC_STATIC)),1,0)
RELEASE_RUSTFLAGS = -C force-frame-pointers=yes$(if $(filter 1,$(STATIC)), -C target-feature=+crt-static)

.DEFAULT_GOAL := help
.PHONY: help build run-local stop-local docker containers chaos chaos-mutants planted soak chaos-smoke chaos-scripts chaos-views chaos-interrupted chaos-processes figures test race sim sim-scale sim-mutants model bench bench-load bench-memory cost observed cover fmt fmt-check lint verify readme profiles prometheus external engine ci clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the optimised binary and leave it at ./shard-cache
	RUSTFLAGS="$(RELEASE_RUSTFLAGS)" $(CARGO) build --release --locked --target $(HOST) --package shard-cache --bin shard-cache
	@# A rename, so that a running binary is replaced and not written to.
	@cp "$${CARGO_TARGET_DIR:-target}/$(HOST)/release/shard-cache" .shard-cache.new && mv .shard-cache.new shard-cache

run-local: build ## Start three nodes on this machine, set a key on one and read it on another
	./shard-cache local up -n 3
	./shard-cache local demo

stop-local: ## Stop the local nodes and remove what they left
	@if [ -x ./shard-cache ]; then ./shard-cache local down; else echo "nothing is built, so nothing runs"; fi

docker: build ## Build the image shard-cache:latest from ./shard-cache; pulls nothing
	deploy/image.sh

containers: docker ## Check the image and docker-compose.yml with a real engine: the README's requests at each node
	$(PYTHON) tests/containers.py

chaos-smoke: docker ## Kill, pause and cut off containers under load, and prove that nothing acknowledged was lost
	chaos/smoke.sh

CASES ?=
chaos: docker ## Play every chaos case on containers, and write chaos/out/report.html (CASES="--only kill --only split")
	chaos/run.sh $(CASES)

chaos-mutants: ## Build a node with planted bugs, and show that the chaos cases find each
	chaos/mutants.sh

PLANTED = $${CARGO_TARGET_DIR:-target}/planted
planted: # The node with planted bugs, in a directory of its own
	RUSTFLAGS="$(RELEASE_RUSTFLAGS)" $(CARGO) build --release --locked --target $(HOST) --target-dir "$(PLANTED)" \
		--package shard-cache --bin shard-cache --features planted-bugs
	@cp "$(PLANTED)/$(HOST)/release/shard-cache" "$(PLANTED)/shard-cache"

SEED ?=
soak: docker ## Play chaos cases at random for an hour (MINUTES=10, SEED=7), with memory and descriptors watched
	chaos/run.sh --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

chaos-scripts: docker ## Check each fault script, and each way to end it
	chaos/tests/scripts.sh

chaos-views: docker ## Cut gossip in one direction, and look whether one call names both views
	chaos/tests/views.sh

chaos-interrupted: docker ## End the smoke test at several moments and look for what it left
	chaos/tests/interrupted.sh

chaos-processes: build ## Restart, kill, add, remove, cut off and pause processes under load, and prove that nothing was lost
	chaos/processes

figures: build ## Measure how changes of owners go, and write the table in docs/reconfiguration-figures.md anew
	chaos/figures --write docs/reconfiguration-figures.md

test: ## Run all tests; needs Rust, a C compiler and Python 3 (a virtual environment is made in .venv)
	CARGO="$(CARGO)" $(PYTHON) tests/run.py

race: ## Explore thread interleavings of the store and the pending table (shuttle); thread sanitizer where nightly is present
	$(CARGO) test --locked --features race --lib -- race::
	@if [ -e "$$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/Cargo.lock" ]; then \
		RUSTFLAGS="-Zsanitizer=thread" $(CARGO) +nightly test --locked -Zbuild-std --target "$$(rustc -vV | sed -n 's/^host: //p')" --lib store; \
	else \
		echo "thread sanitizer: not run, it needs a nightly toolchain with rust-src (rustup toolchain install nightly -c rust-src)"; \
	fi

sim: ## Run 300 seeds of five simulated minutes under faults, judged by what the README promises
	$(CARGO) run --profile sim --locked --package shard-cache-sim -- sweep --seeds 300 --minutes 5 --jobs 2 --twice-every 30 --gate

LOAD ?=
bench-load: build ## Measure clusters beside redis, memcached, etcd and a bare server, and write bench/RESULTS.md (LOAD="--quick")
	$(CARGO) run --release --locked --package shard-cache-bench --bin shard-cache-bench-load -- $(LOAD)

NODES ?= 1000
sim-scale: ## Measure membership with a thousand nodes (NODES=250), and write the table in docs/simulator.md anew
	$(CARGO) run --profile sim --locked --package shard-cache-sim -- scale --nodes $(NODES) --write docs/simulator.md

sim-mutants: ## Plant known bugs in simulated nodes and look for seeds by which each is found
	$(CARGO) run --profile sim --locked --package shard-cache-sim -- mutants --seeds 200 --jobs 2

MODEL = $(CARGO) run --quiet --profile sim --locked --package slot-model --
model: ## Explore the model of slot reconfiguration: scenarios, random and all short schedules, planted bugs
	$(MODEL) --scenario sim/model/scenarios/*.slot
	$(MODEL) --seeds 200000
	$(MODEL) --exhaustive --depth 7
	$(MODEL) --mutants --seeds 400000

bench: ## Measure the parts of the hot path one by one (criterion), and the bytes per entry
	$(CARGO) bench --locked --package shard-cache --bench hot_path
	$(CARGO) bench --locked --package shard-cache --bench entry_bytes

bench-memory: build ## Fail if a node under ten minutes of churn (MINUTES=2) has more resident than max_memory promises; bytes per entry
	$(PYTHON) bench/churn --entries 1000000
	$(PYTHON) bench/churn --minutes $(or $(MINUTES),10)

cost: build ## Fail if a quorum operation costs more CPU, as a multiple of what generating it costs, than it should
	$(PYTHON) bench/cost

observed: build ## Fail if traces of one request in a hundred and a scrape a second cost more than 5 % of CPU per operation
	bench/observed

cover: ## Measure test coverage; needs cargo-llvm-cov and the llvm-tools component
	@if $(CARGO) llvm-cov --version >/dev/null 2>&1; then \
		$(CARGO) llvm-cov --workspace --locked --summary-only; \
	else \
		echo "coverage needs cargo-llvm-cov and llvm-tools:" >&2; \
		echo "  rustup component add llvm-tools && cargo install cargo-llvm-cov" >&2; \
		exit 1; \
	fi

fmt: ## Format the code
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

lint: ## Clippy and rustdoc without warnings; licences and sources of dependencies
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --package shard-cache --features race,planted-bugs --lib --tests --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(PYTHON) scripts/dependencies.py

verify: fmt-check lint ## What must hold before a change lands, apart from the tests

readme: ## Execute the README's commands against the debug binary
	CARGO="$(CARGO)" $(PYTHON) tests/readme.py

profiles: build ## Take profiles of a node under load with go tool pprof; without go, says so
	@code=0; $(PYTHON) tests/profiles.py || code=$$?; [ $$code = 0 ] || { [ $$code = 77 ] && [ "$$CI" != true ]; }

prometheus: ## Check metrics, alerts and dashboards with a real Prometheus beside three nodes (Debian package, unpacked)
	CARGO="$(CARGO)" $(PYTHON) tests/prometheus.py

external: ## Checks by tools that are not Rust's: shellcheck, yamllint
	@$(PYTHON) scripts/external.py $(SCRIPTS)

engine: ## The checks that need a Docker engine; where none answers, says so
	@if docker info >/dev/null 2>&1; then \
		$(MAKE) containers chaos-smoke chaos-scripts chaos-views; \
	else \
		echo "no Docker engine answers: make containers, chaos-smoke, chaos-scripts and chaos-views are not run"; \
	fi

ci: verify test readme prometheus race external cost profiles engine ## Everything

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf shard-cache .venv .local
