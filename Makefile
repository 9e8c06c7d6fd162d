# Warren: everything that a person or a machine does to this checkout.
# Downloads and compiled code lie in WARREN_CACHE (default ~/.cache/warren), not here.

.DEFAULT_GOAL := help
.PHONY: help run test survive rolls fuzz fault-matrix bench-quick bench-rules

PYTHON ?= python3
export CLUSTERS ONCE TESTS TARGETS FUZZ_SECONDS

help:
	@echo "make run          two real Trino clusters with Warren in front, and a first query"
	@echo "                    CLUSTERS=http://a:8080,http://b:8080  clusters that run elsewhere (no JDK needed)"
	@echo "                    ONCE=1                                end after the first answer"
	@echo "make test         all that must hold: format, lints, licences, unit, contract and real-Trino tests"
	@echo "                    TESTS='--test real'                   only some of the tests"
	@echo "make survive      the long ones whole: 200 running queries and Warren's own falls, 20 upgrades in a row"
	@echo "make rolls        six times one coordinator takes over from another under load, thrice with Warren killed in each phase"
	@echo "make fuzz         what clients send against random input, five minutes for each target"
	@echo "                    TARGETS='sql tags' FUZZ_SECONDS=60    only some of them, for less time"
	@echo "make fault-matrix what users of each client see of each fault, with Warren and without it"
	@echo "make bench-quick  CPU a request and requests a second, beside a bare Pingora proxy and nginx"
	@echo "make bench-rules  what a call of the rules takes of processor time and memory, beside its goals"

run:
	@exec $(PYTHON) deploy/local/run.py

test:
	@exec $(PYTHON) deploy/local/check.py

survive: export WARREN_TEST_SIZE = whole
survive: export TESTS = --test real outlive -- --test-threads=1 --nocapture
survive:
	@exec $(PYTHON) deploy/local/check.py

rolls: export WARREN_TEST_SIZE = whole
rolls: export TESTS = --test real replace -- --test-threads=1 --nocapture
rolls:
	@exec $(PYTHON) deploy/local/check.py

fuzz:
	@exec $(PYTHON) deploy/local/fuzz.py

fault-matrix:
	@exec $(PYTHON) deploy/local/fault_matrix.py

bench-quick:
	@exec $(PYTHON) deploy/local/bench_quick.py

bench-rules:
	@exec $(PYTHON) deploy/local/bench_rules.py
