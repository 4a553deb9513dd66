# The folder of the virtual environment; another one may be given: make VENV=...
VENV ?= .venv
export VENV

.NOTPARALLEL:
.PHONY: demo agent test bench bench-medium bench-full bench-check soak-agent soak-conformance fuzz lint types environment bench-environment

# Start everything on this machine and keep it running until Ctrl-C; RESET=1 forgets the last time.
demo:
	@sh tools/bootstrap.sh run && exec $(VENV)/bin/python -m demo.run

# Build the agent as one file, dist/signalbox-agent.pyz; SIGNALBOX_SIGNING_KEY signs it.
agent:
	@sh tools/bootstrap.sh build && $(VENV)/bin/python -m tools.build_agent

# Set up what the tests need, then check style and types and run every test.
# While types are checked, the other core reads the tests once and keeps what pytest makes of them for its processes.
test: lint
	@unset PYTHONDONTWRITEBYTECODE; \
	$(VENV)/bin/python -m pytest --collect-only -q >/dev/null 2>&1 & \
	$(VENV)/bin/mypy && wait && exec $(VENV)/bin/python -m pytest -n 4 --dist worksteal

# Measure ours beside its peers, the small set, in under ten minutes; the table goes to build/bench/results.
bench: bench-environment
	@exec $(VENV)/bin/python -m bench --scale quick --minutes 7 $(BENCH)

# Measure all but the large crowd, in 40 minutes; table, JSON and pictures go to docs/bench.
bench-medium: bench-environment
	@exec $(VENV)/bin/python -m bench --scale medium --minutes 40 --folder docs/bench $(BENCH)

# Measure everything, in some hours; table, JSON and pictures go to docs/bench. ONLY="sockets heartbeats" for less.
bench-full: bench-environment
	@exec $(VENV)/bin/python -m bench --scale full --minutes 300 --folder docs/bench $(if $(ONLY),--only $(ONLY)) $(BENCH)

# As bench, and fail with a sentence where a ratio has become worse than bench/baseline.json allows.
bench-check: bench-environment
	@exec $(VENV)/bin/python -m bench --scale quick --minutes 7 --check $(BENCH)

# Disturb agents, server and Redis for two hours and look whether all comes right; SECONDS=… for less.
soak-agent: environment
	@$(VENV)/bin/python -m bench.soak_agent $(SECONDS)

# Keep two agents that we did not write connected for ten minutes; SECONDS=… for another time.
soak-conformance: environment
	@$(VENV)/bin/python -m bench.soak_conformance $(SECONDS)

# Send ten thousand spoiled requests to the agent API (TRIES=… for more) and fifty of each operation to the operator API
# (EXAMPLES=… for more), and try fresh examples where tests have fixed ones.
fuzz: environment
	@$(VENV)/bin/python -m bench.fuzz_agent_api $(TRIES) && $(VENV)/bin/python -m bench.fuzz_operator_api $(EXAMPLES) && $(VENV)/bin/python -m pytest -m hypothesis --hypothesis-profile=default

# Check the style.
lint: environment
	@$(VENV)/bin/ruff check .

# Check the types.
types: environment
	@$(VENV)/bin/mypy

# Set up what the tests need.
environment:
	@sh tools/bootstrap.sh test

# Set up what the measurements need: a C compiler and the peers, under build/bench.
bench-environment:
	@sh tools/bootstrap.sh bench
