# make demo, make test, make install: see `make help`.

PREFIX  ?= /usr/local
DESTDIR ?=

CARGO   ?= cargo
SEEDS   ?= 10000
FUZZ_SECONDS ?= 60
TARGET  := $(or $(CARGO_TARGET_DIR),target)
BINDIR  := $(PREFIX)/bin
DOCDIR  := $(PREFIX)/share/doc/tucano
# Where systemd looks: below /usr and /usr/local it does; for any other prefix, in /etc.
ifneq ($(filter /usr /usr/local,$(PREFIX)),)
UNITDIR     := $(PREFIX)/lib/systemd/system
SYSUSERSDIR := $(PREFIX)/lib/sysusers.d
TMPFILESDIR := $(PREFIX)/lib/tmpfiles.d
else
UNITDIR     := /etc/systemd/system
SYSUSERSDIR := /etc/sysusers.d
TMPFILESDIR := /etc/tmpfiles.d
endif

BINS    := tucano-controller tucano-worker tucano
UNITS   := tucano-controller.service tucano-controller.socket tucano-worker.service tucano.slice
RELEASE := $(addprefix $(TARGET)/release/,$(BINS))
SOURCES := Cargo.toml Cargo.lock $(shell find common controller worker tools \
	\( -name '*.rs' -o -name Cargo.toml -o -name '*.sql' -o -name '*.json' \) -not -path '*/fuzz/*')

.PHONY: help build release demo test fuzz sim soak mutants bench bench-choice bench-control bench-supervisor bench-build load fmt lint install uninstall need-build need-test need-bench clean

help:
	@echo 'make demo       build, then show a cluster of three workers on this machine until Ctrl-C'
	@echo 'make test       formatting, lints and every test'
	@echo 'make fuzz       the parsers under random input, FUZZ_SECONDS=$(FUZZ_SECONDS) each (nightly compiler)'
	@echo 'make sim        a cluster under faults, SEEDS=$(SEEDS) histories; make mutants: what it finds'
	@echo 'make soak       a day of heartbeats of one agent, run fast: its memory stays'
	@echo 'make bench      the balancer beside HAProxy and nginx (ONLY=a case, ROUNDS=$(ROUNDS))'
	@echo 'make bench-choice  its choice beside round robin, one worker of three under stress'
	@echo 'make bench-control  the controller with 1,000 fake workers and 20,000 instances'
	@echo 'make bench-supervisor  the agent beside supervisord and pm2 (SUPERVISORD=…, PM2=…, KEPT=$(KEPT))'
	@echo 'make bench-build  what a build costs the service beside it'
	@echo 'make load       HELD=$(HELD) kept connections and NEW=$(NEW) new ones, with everything going on'
	@echo 'make build      debug binaries in $(TARGET)/debug'
	@echo 'make release    small, fast binaries in $(TARGET)/release'
	@echo 'make install    binaries, units, users and folders (PREFIX=$(PREFIX), DESTDIR for packages)'
	@echo 'make uninstall  takes them away again; settings, data and users stay'

# --- what is needed --------------------------------------------------------------------------

need-build:
	@sh tools/need.sh build

need-test:
	@sh tools/need.sh test

need-bench:
	@sh tools/need.sh bench

# --- building --------------------------------------------------------------------------------

build: need-build
	$(CARGO) build --workspace --bins

release: need-build
	$(CARGO) build --release -p tucano-controller -p tucano-worker -p tucano-tools \
		$(addprefix --bin ,$(BINS))

# For install: built if something changed since, so that `make release` and then
# `sudo make install`, where root has no cargo, copies only.
$(RELEASE) &: $(SOURCES)
	@$(MAKE) --no-print-directory release
	@touch $(RELEASE)

demo: build
	@$(TARGET)/debug/tucano-demo-cluster

# --- testing ---------------------------------------------------------------------------------

fmt:
	$(CARGO) fmt --all

lint: need-build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test: need-test lint build
	@sh tests/run.sh $(CARGO)

# HTTP/1.1 under random input; what breaks a promise is named and kept.
fuzz: need-build
	@sh tools/fuzz.sh $(FUZZ_SECONDS)

# Histories of a whole cluster under faults; each failure names the seed that replays it.
sim: need-build
	$(CARGO) run --release -p tucano-tools --bin tucano-sim -- --seeds $(SEEDS)

# A day of heartbeats of one agent, run fast: its memory at the end is what it was after a tenth.
soak: need-test
	TUCANO_SOAK_BEATS=86400 $(CARGO) test -p tucano-worker --test agent soak -- --nocapture

# The controller with 1,000 fake workers and 20,000 instances, and the planner alone.
bench-control: need-build
	$(CARGO) build --release -p tucano-controller -p tucano-tools --bin tucano-controller \
		--bin tucano-sim
	@$(TARGET)/release/tucano-sim planner
	@$(TARGET)/release/tucano-sim bench

# Breaks the cores in the ways of tests/mutants and wants the simulator to find each.
mutants: need-build
	@CARGO='$(CARGO)' sh tests/mutants.sh

clean:
	$(CARGO) clean

# The balancer beside HAProxy and nginx; ends with 1 where a bar is missed. See docs/performance.md.
ROUNDS ?= 3
ONLY   ?=
bench: need-bench release
	$(CARGO) build --release -p tucano-tools --bin tucano-load
	python3 tools/bench/bench.py --controller $(TARGET)/release/tucano-controller \
		--load $(TARGET)/release/tucano-load --rounds $(ROUNDS) --only '$(ONLY)'

# The choice of an instance beside HAProxy's and nginx's round robin, one worker of three under stress.
bench-choice: need-bench release
	$(CARGO) build --release -p tucano-tools --bin tucano-load
	python3 tools/bench/choice.py --worker $(TARGET)/release/tucano-worker \
		--controller $(TARGET)/release/tucano-controller --load $(TARGET)/release/tucano-load \
		--rounds $(ROUNDS)

# The agent beside supervisord and pm2: memory, CPU, time from a start request to the process.
SUPERVISORD ?= supervisord
PM2         ?= pm2
KEPT        ?= 10
bench-supervisor: release
	python3 tools/bench/supervisors.py --worker $(TARGET)/release/tucano-worker \
		--controller $(TARGET)/release/tucano-controller --kept $(KEPT) \
		--supervisord '$(SUPERVISORD)' --pm2 '$(PM2)'

# What a build costs the service beside it on the same worker.
bench-build: release
	$(CARGO) build --release -p tucano-tools --bin tucano-load --bin tucano-demo
	python3 tools/bench/build_beside.py --worker $(TARGET)/release/tucano-worker \
		--controller $(TARGET)/release/tucano-controller --load $(TARGET)/release/tucano-load \
		--demo $(TARGET)/release/tucano-demo

# Kept and new connections through deploys, restarts, kills and drains: no request fails, the ledger
# balances, memory comes back. Each kept connection is a descriptor here and one in the controller.
HELD ?= 10000
NEW  ?= 30000
load: need-build
	$(CARGO) build --release --workspace --bins
	ulimit -n $$(ulimit -H -n) && TUCANO_LOAD_HELD=$(HELD) TUCANO_LOAD_NEW=$(NEW) $(CARGO) test \
		--release -p tucano-tests --test e2e storm:: -- --nocapture

# --- installing ------------------------------------------------------------------------------

install: $(RELEASE)
	@sh tools/install.sh install '$(DESTDIR)' '$(BINDIR)' '$(DOCDIR)' '$(UNITDIR)' \
		'$(SYSUSERSDIR)' '$(TMPFILESDIR)' '$(TARGET)/release'

uninstall:
	@sh tools/install.sh uninstall '$(DESTDIR)' '$(BINDIR)' '$(DOCDIR)' '$(UNITDIR)' \
		'$(SYSUSERSDIR)' '$(TMPFILESDIR)' '$(TARGET)/release'
