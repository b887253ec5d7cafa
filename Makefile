# Two environments, so that running the app installs nothing that only tests need.
PYTHON ?= python3
PORT ?= 8501
RUN := .venv
TEST := .venv-test
RAY := .venv-ray
# Node.js and npm come from PyPI, too
NPM := PATH="$(CURDIR)/$(TEST)/bin:$$PATH" npm

.PHONY: run test test-ray lint bench train clean

run: $(RUN)/ready
	$(RUN)/bin/streamlit run app.py --server.port $(PORT)

test: lint
	$(NPM) test
	$(TEST)/bin/python tests/browser/install.py
	$(TEST)/bin/python -m pytest --ignore=tests/browser
	# each of two browsers has a server of its own; the two halves take turns on two cores
	$(TEST)/bin/python -m pytest -n 2 tests/browser

test-ray: $(RAY)/ready
	$(RAY)/bin/python -m pytest tests/cluster

lint: $(TEST)/ready node_modules/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/basedpyright
	$(NPM) run lint

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

$(RAY)/ready: requirements.txt requirements-test.txt requirements-ray.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --disable-pip-version-check -q -r requirements-test.txt -r requirements-ray.txt
	@touch $@

clean:
	rm -rf $(RUN) $(TEST) $(RAY) node_modules build .pytest_cache .ruff_cache .hypothesis
