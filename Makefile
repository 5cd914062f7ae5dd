# Natto. `make demo` and `make test` are all that a newcomer needs; both set up what is missing.
NODE = $(shell scripts/find-node)
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror \
	-Wno-unused-parameter -Wno-sign-compare -Wno-address-of-packed-member \
	-I/usr/include/$(shell uname -m)-linux-gnu

.PHONY: help setup bpf check format test demo bench clean

help: ## Show this help
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## Install Debian packages and npm packages, compile the dataplane
	@scripts/setup
	@$(MAKE) --no-print-directory bpf

bpf: build/natto.bpf.o build/bench.bpf.o ## Compile the dataplane

build/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	clang $(BPF_CFLAGS) -c $< -o $@.tmp && mv $@.tmp $@
