# Two commands for a newcomer: `make demo` and `make test`. Both set up what they need by themselves.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .setup/dev

.PHONY: demo test lint types tests proto sql-reference governance constraints clean

demo: $(SETUP)
	$(BIN)/python -m demo.run

# Types beside the tests, which wait for processes now and then; what either finds fails the whole.
test: $(SETUP) lint
	$(MAKE) --no-print-directory -j 2 types tests

# Of three, one waits for processes most of the time: two cores have work.
tests: $(SETUP)
	sh scripts/install_browser.sh
	$(BIN)/python -m pytest -q -n 3 --dist loadgroup --timeout 300

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(SETUP)
	$(BIN)/mypy

# Generated code is committed; tests/test_generated_code.py generates it again and compares.
proto: $(SETUP)
	$(BIN)/python scripts/generate_proto.py clients

# The second half of docs/sql.md; tests/gateway/planning/test_sql_reference.py generates it again and compares.
sql-reference: $(SETUP)
	$(BIN)/python scripts/generate_sql_reference.py

# docs/governance.md, of what tests and code say they keep; tests/test_governance_page.py compares.
governance: $(SETUP)
	$(BIN)/python scripts/generate_governance.py

# Pins every dependency with its hashes, for everybody who uses make.
constraints: $(SETUP)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --upgrade -o constraints.txt

$(SETUP): pyproject.toml constraints.txt enclave_sim/engine/rows.c enclave_sim/paillier/powers.c
	PYTHON=$(PYTHON) BIN=$(BIN) sh scripts/setup.sh
	mkdir -p .setup && touch $(SETUP)

clean:
	rm -rf .venv .setup
