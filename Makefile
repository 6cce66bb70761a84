# Everything a checkout needs: GNU make and Python 3.11 or newer with venv. `make help` lists it all.
#
# The environment is .venv, made from the locks; stamps in it say which lock it was made from, so
# that a target that is up to date starts at once and needs no network.

VENV ?= .venv
PYTHON ?=
ARGS ?=
COUNT ?= 100
SEED ?=

RUN := $(VENV)/bin/python
# The locks are complete, so nothing is resolved: a newer release of a package that is wanted with an
# extra would be looked at first otherwise, and refused for having no hash.
INSTALL := $(RUN) -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --no-deps
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# An environment whose interpreter is gone (an upgrade of Python removes it) is made again.
REMAKE := $(shell test -x $(RUN) || echo remake)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check format crash ownership hostile villains mutants bench lock clean remake

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  ARGS="..." goes to the program behind run, test, crash, ownership, hostile, villains, mutants and bench.'

run: $(VENV)/runtime.stamp ## Start the runtime with the echo agent; set up .venv first if needed
	@exec $(RUN) -m runtime serve $(ARGS)

test: $(VENV)/development.stamp ## Run the tests
	$(RUN) -m pytest --numprocesses auto --dist worksteal $(ARGS)

check: $(VENV)/development.stamp ## Check format, lint, types, import directions and house rules
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(RUN) -m pytest --quiet tests/test_house.py

format: $(VENV)/development.stamp ## Format the code and apply the safe fixes of the linter
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

crash: $(VENV)/development.stamp ## Kill the real process at random: COUNT=100 times, SEED=n to repeat
	$(RUN) -m tests.crash --count $(COUNT) $(if $(SEED),--seed $(SEED)) $(ARGS)

ownership: $(VENV)/development.stamp ## Look for a file without its one owner: COUNT=100 histories, SEED=n to repeat
	OWNERSHIP_EXAMPLES=$(COUNT) $(RUN) -m pytest -o faulthandler_timeout=0 \
		$(if $(SEED),--hypothesis-seed $(SEED)) tests/property/test_ownership.py $(ARGS)

hostile: $(VENV)/development.stamp ## Attack the real process while others talk to it: COUNT=100 rounds
	$(RUN) -m tests.hostile --count $(COUNT) $(if $(SEED),--seed $(SEED)) $(ARGS)

villains: $(VENV)/development.stamp ## Let hostile agents loose while others talk to honest ones: COUNT=100 rounds
	$(RUN) -m tests.hostile_agents --count $(COUNT) $(ARGS)

mutants: $(VENV)/development.stamp ## Change the rules of queue and files one by one: which changes no test notices
	rm -rf mutants
	$(VENV)/bin/mutmut run $(ARGS)
	$(VENV)/bin/mutmut results

bench: $(VENV)/development.stamp ## Run the benches: ARGS="--quick", ARGS="kernel --rounds 7"
	$(RUN) -m bench $(ARGS)

lock: $(VENV)/development.stamp ## Bring both locks in step with pyproject.toml; ARGS=--upgrade for newer versions
	$(COMPILE) $(ARGS) --output-file requirements.lock pyproject.toml
	$(COMPILE) $(ARGS) --group dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml

clean: ## Remove .venv and all caches
	rm -rf $(VENV) .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist mutants *.egg-info tests/npm/node_modules tests/npm/.lock
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/runtime.stamp: requirements.lock $(VENV)/created.stamp
	@echo "Installing what the runtime needs (requirements.lock) into $(VENV) ..."
	@$(INSTALL) --requirement requirements.lock
	@touch $@

$(VENV)/development.stamp: requirements-dev.lock $(VENV)/created.stamp
	@echo "Installing what development needs (requirements-dev.lock) into $(VENV) ..."
	@$(INSTALL) --requirement requirements-dev.lock
	@touch $@

# The first interpreter that is new enough and can make an environment, or a word on what to install.
$(VENV)/created.stamp: $(REMAKE)
	@suitable='import sys; sys.version_info >= (3, 11) or sys.exit(1); import ensurepip, venv'; \
	for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
		if "$$python" -c "$$suitable" >/dev/null 2>&1; then \
			echo "Creating $(VENV) with $$("$$python" --version) ..."; \
			rm -rf $(VENV) && "$$python" -m venv $(VENV) && touch $@ && exit 0; \
			rm -rf $(VENV); exit 1; \
		fi; \
		seen="$$seen$$("$$python" --version 2>/dev/null | sed "s|.*|  $$python is &|")"; \
	done; \
	{ \
		echo "Python 3.11 or newer, with its venv module, is needed$(if $(PYTHON), at $(PYTHON))."; \
		test -z "$$seen" || echo "$$seen"; \
		echo "Debian and Ubuntu: apt install python3 python3-venv.  macOS: brew install python3."; \
		echo "An interpreter in another place: make $(or $(MAKECMDGOALS),run) PYTHON=/path/to/python3"; \
	} >&2; exit 1
