# Needs GNU make and Swift 6.2 or later. `make help` lists the targets.

SWIFT ?= swift
PYTHON ?= python3
# The configuration that tests are built in.
CONFIGURATION ?= debug
# Arguments for `swift test`, such as TESTS='--filter RowStorageTests'.
TESTS ?=
# Which benchmark, and its arguments, such as BENCHMARKS='read --full'; all of them without.
BENCHMARKS ?=

# A terminal shows progress; elsewhere only warnings, errors and results.
QUIET := $(shell test -t 2 || echo --quiet)
CLANG := $(shell command -v clang || echo cc)
SWIFT_FILES := $(wildcard Package.swift Sources Tests tools benchmarks/Package.swift benchmarks/Sources benchmarks/Tests)
C_FILES := $(wildcard Sources/*/*.c Tests/*/*.c benchmarks/Sources/*/*.c)
C_FLAGS = -Wall -Wextra -Werror -fsyntax-only $(patsubst %,-I%,$(wildcard Sources/*/include Tests/*/include benchmarks/Sources/*/include)) \
  $(shell pkg-config --cflags sqlite3 libxxhash zlib)

.DEFAULT_GOAL := help
.PHONY: help run test torture coverage check bench fuzz lint format clean prerequisites build strict oracle auc

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: prerequisites ## run the demonstration: made-up events, or EVENTS=FILE MODEL=FILE; STORE=DIR keeps the store
	@echo "Building ckvdb (release)"
	@$(SWIFT) build $(QUIET) -c release --product ckvdb
	@.build/release/ckvdb demo $(if $(STORE),'$(STORE)') $(if $(EVENTS),--events '$(EVENTS)') \
	  $(if $(MODEL),--model '$(MODEL)')

test: prerequisites ## run all tests; CONFIGURATION=release, TESTS='--filter NAME'
	@echo "Building and running the tests ($(CONFIGURATION))"
	@$(SWIFT) test $(QUIET) --disable-xctest -c $(CONFIGURATION) $(TESTS)

torture: prerequisites ## run the tests of durability at their full size, for hours; TESTS='--filter NAME'
	@echo "Building the tests (release)"
	@$(SWIFT) build $(QUIET) -c release --build-tests -Xswiftc -enable-testing
	@SWIFT='$(SWIFT)' $(PYTHON) tools/torture release --skip-build --disable-xctest -c release \
	  -Xswiftc -enable-testing $(TESTS)

coverage: prerequisites ## run all tests and print the line coverage of what holds stored data; LEAST=95
	@$(SWIFT) test $(QUIET) --disable-xctest --enable-code-coverage
	@SWIFT='$(SWIFT)' $(PYTHON) tools/coverage $(LEAST)

check: ## lint, build with warnings as errors, test: what a change has to pass
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory strict
	@CKVDB_STRICT=1 $(MAKE) --no-print-directory test

bench: ## run the benchmarks; SMOKE=1 for their tests and the small size; BENCHMARKS='ARGUMENTS'
	@tools/prerequisites --bench
	@echo "Building the benchmarks (release)"
ifdef SMOKE
	@$(SWIFT) test $(QUIET) --disable-xctest -c release --package-path benchmarks
	@$(PYTHON) -m unittest discover -q benchmarks/plot
else
	@$(SWIFT) build $(QUIET) -c release --package-path benchmarks
endif
	@$(SWIFT) run --quiet --skip-build -c release --package-path benchmarks ckvdb-benchmark \
	  $(if $(BENCHMARKS),$(BENCHMARKS),all) $(if $(SMOKE),--smoke)

fuzz: prerequisites ## fuzz with libFuzzer: SECONDS=60 for each target; TARGETS='row events'
	@tools/fuzz/run $(or $(SECONDS),60) $(TARGETS)

lint: prerequisites ## check format and, in C, warnings
	@echo "Linting"
	@$(SWIFT) format lint --strict --parallel --recursive $(SWIFT_FILES)
	@for file in $(C_FILES); do $(CLANG) $(C_FLAGS) $$file || exit 1; done

format: ## format the Swift files in place
	@$(SWIFT) format --in-place --parallel --recursive $(SWIFT_FILES)

build: prerequisites ## build a release of the command
	@$(SWIFT) build $(QUIET) -c release --product ckvdb

strict: prerequisites ## build everything with warnings as errors
	@echo "Building with warnings as errors ($(CONFIGURATION))"
	@CKVDB_STRICT=1 $(SWIFT) build $(QUIET) -c $(CONFIGURATION) --build-tests

oracle: build ## compare the command with a reference: REFERENCE=SCRIPT SEEDS=20; without one, with the kept cases
	@$(PYTHON) tools/oracle/compare.py .build/release/ckvdb \
	  $(if $(REFERENCE),--reference '$(REFERENCE)' --seeds $(or $(SEEDS),20),--cases Tests/CollectiveKVTests/Cases)

auc: build ## score a real stream with its model: EVENTS=FILE MODEL=FILE; REFERENCE=SCRIPT compares; USERS=500
	@test -n '$(EVENTS)' -a -n '$(MODEL)' || { echo 'make auc needs EVENTS=FILE and MODEL=FILE' >&2; exit 64; }
	@$(PYTHON) tools/oracle/auc.py .build/release/ckvdb --events '$(EVENTS)' --model '$(MODEL)' \
	  $(if $(REFERENCE),--reference '$(REFERENCE)') $(if $(USERS),--users $(USERS))

prerequisites: ## install the missing system libraries
	@tools/prerequisites

clean: ## remove everything that was built
	@rm -rf .build benchmarks/.build
