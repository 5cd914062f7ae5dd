# Natto. `make demo` and `make test` are all that a newcomer needs; both set up what is missing.
NODE = $(shell scripts/find-node)
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror \
	-Wno-unused-parameter -Wno-sign-compare -Wno-address-of-packed-member \
	-I/usr/include/$(shell uname -m)-linux-gnu

.PHONY: help setup bpf check format test test-clusters outages chaos demo bench bench-fleet clean simulate

help: ## Show this help
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install Debian packages and npm packages, compile the dataplane
	@scripts/setup
	@$(MAKE) --no-print-directory bpf

bpf: build/natto.bpf.o build/bench.bpf.o ## Compile the dataplane

build/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	clang $(BPF_CFLAGS) -c $< -o $@.tmp && mv $@.tmp $@

check: setup ## Format, lint and types
	npx biome check --error-on-warnings .
	npx tsc -p .

format: ## Write the format and the safe lint fixes
	npx biome check --write .

test: setup ## Run all tests (root: they build network namespaces)
	@$(NODE) scripts/run-tests.ts

outages: setup ## The etcd driver through killed, paused and full members; not part of `test`, since it depends on time
	@$(NODE) scripts/run-tests.ts src/store/etcd-outages.suite.ts

chaos: setup ## Break things at random for ten minutes under traffic, then check everything. SECONDS=n, SEED=n
	@NATTO_CHAOS_SECONDS=$(or $(SECONDS),600) $(if $(SEED),NATTO_CHAOS_SEED=$(SEED)) \
		$(NODE) scripts/run-tests.ts --once --timeout 900 test/chaos/chaos.suite.ts

test-clusters: setup ## Run all end-to-end tests on etcd and Consul, with outages of a minute
	@NATTO_E2E_CLUSTERS=1 NATTO_OUTAGE_SECONDS=60 $(NODE) scripts/run-tests.ts --timeout 900 test/e2e

demo: setup ## A cloud of namespaces with three NAT nodes; one dies. HOLD=1 leaves it running, CLUSTER=1 puts etcd and Consul into it
	@$(NODE) src/demo/main.ts $(if $(HOLD),--hold) $(if $(CLUSTER),--clusters)

simulate: setup ## Simulate a cell for NATTO_SECONDS (60), or repeat the life of NATTO_SEED
	@$(NODE) test/simulation/run.ts

bench: setup ## Measure: packets, throughput against nftables, planning, memory, loss of a node
	@$(NODE) bench/packet-cost.ts
	@$(NODE) bench/throughput.ts
	@$(NODE) bench/plan.ts
	@$(NODE) bench/agent-memory.ts
	@$(NODE) bench/detection.ts
	@$(NODE) bench/power-off.ts
	@$(NODE) bench/rollout.ts

bench-fleet: setup ## Measure a fleet of simulated nodes on a real etcd. NODES="10 100 1000"
	@$(NODE) bench/fleet.ts $(NODES)

clean: ## Remove what was built
	rm -rf build node_modules
