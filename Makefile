# Everything from a bare clone with Python 3.11: `make demo`, `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Small machines: two workers share two cores, so each keeps to one thread.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
PYTEST_ARGUMENTS ?= -n 2 --dist loadfile

.PHONY: demo test lint types install clean-demo

demo: $(BIN)/.installed-cpu $(DEMO)/checkpoint.pth $(DEMO)/scenes/scene_index.json
	$(BIN)/bevformer build --model tiny --checkpoint $(DEMO)/checkpoint.pth --scenes $(DEMO)/scenes \
		--store $(DEMO)/store --num-samples 8

$(DEMO)/checkpoint.pth: | $(BIN)/.installed-cpu
	$(BIN)/bevformer make-checkpoint tiny --output $@

$(DEMO)/scenes/scene_index.json: | $(BIN)/.installed-cpu
	$(BIN)/bevformer make-scenes --output $(DEMO)/scenes --num-scenes 2 --frames 12

test: $(BIN)/.installed-test lint types
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

lint: $(BIN)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(BIN)/.installed-test
	$(BIN)/mypy

install: $(BIN)/.installed-cpu

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed-cpu: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cpu]'
	touch $@

$(BIN)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cpu,test]'
	$(BIN)/python -m pip install --quiet --no-deps 'nuscenes-devkit>=1.2,<2'
	touch $@ $(BIN)/.installed-cpu

clean-demo:
	rm -rf $(DEMO)
