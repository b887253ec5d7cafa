# Two environments, so that running the app installs nothing that only tests need.
PYTHON ?= python3
PORT ?= 8501
RUN := .venv
TEST := .venv-test
LOCK := .venv-lock
# Node.js and npm come from PyPI, too
NPM := PATH="$(CURDIR)/$(TEST)/bin:$$PATH" npm

.PHONY: run test lint audit lock bench train clean

run: $(RUN)/ready
	$(RUN)/bin/streamlit run app.py --server.port $(PORT)

test: lint
	$(NPM) test
	$(TEST)/bin/python tests/browser/install.py
	$(TEST)/bin/python -m pytest --ignore=tests/browser
	# each of two browsers has a server of its own; the two halves take turns on two cores
	$(TEST)/bin/python -m pytest -n 2 tests/browser

lint: $(TEST)/ready node_modules/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/basedpyright
	$(NPM) run lint

# known faults of what the app runs on, where PyPI's database of them can be reached
audit: $(TEST)/ready
	$(TEST)/bin/python tests/supply/audit.py

# requirements.txt and all that it needs, by hash; but not torch, whose build differs by machine,
# nor what its CUDA build alone needs
lock: $(LOCK)/ready
	$(LOCK)/bin/uv pip compile requirements.txt --universal --python-version 3.11 --quiet \
		--generate-hashes --no-emit-find-links --no-emit-index-url \
		--custom-compile-command "make lock" --output-file $(LOCK)/whole
	awk '/^[a-z]/{keep=!/^(torch|triton|nvidia-|cuda-)/} keep||!/^[a-z ]/' $(LOCK)/whole \
		> requirements.lock

bench: $(TEST)/ready
	$(TEST)/bin/python -m engine bench

train: $(RUN)/ready
	$(RUN)/bin/python -m engine train

$(RUN)/ready: requirements.txt
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(TEST)/ready: requirements.txt requirements-test.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --disable-pip-version-check -q -r requirements-test.txt
	@touch $@

node_modules/ready: package.json package-lock.json $(TEST)/ready
	$(NPM) ci
	@touch $@

$(LOCK)/ready:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip install --disable-pip-version-check -q uv==0.13.9
	@touch $@

clean:
	rm -rf $(RUN) $(TEST) $(LOCK) node_modules build .pytest_cache .ruff_cache .hypothesis
