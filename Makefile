# Everything from a bare clone with Python 3.11: `make demo`, `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Small machines: workers share two cores, so each keeps to one thread; one more than cores, since some wait for servers.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
PYTEST_ARGUMENTS ?= -n 3 --dist loadfile --no-loadscope-reorder

# What `make` installs, version by version; `make lock` renews it, `make test LOCK=` takes the newest that resolve.
LOCK ?= --constraint constraints.txt

.PHONY: demo demo-image planted-faults demo-full test test-fast test-lowest test-infra fuzz lint format types lock install clean-demo

# A model that sees, on scenes that it was not trained on (training took seeds 100000 and up, 900000 to 900016).
demo: $(BIN)/.installed-cpu $(DEMO)/seen/scenes/scene_index.json
	$(BIN)/bevformer build --model demo --checkpoint demo --scenes $(DEMO)/seen/scenes \
		--store $(DEMO)/seen/store --num-samples 12 --policy bevformer_lib/gates/demo.yaml

$(DEMO)/seen/scenes/scene_index.json: | $(BIN)/.installed-cpu
	$(BIN)/bevformer make-scenes --model demo --seed 950000 --output $(DEMO)/seen/scenes --num-scenes 3 --frames 8 --workers 3

# The image of the README: what the emulated model finds in one of the demo's frames.
demo-image: demo
	built="$$(ls -td $(DEMO)/seen/store/builds/demo-*/ | head -n 1)" && $(BIN)/bevformer infer \
		"$$built"model_int8.onnx "$$built"inference_config.json $(DEMO)/seen/scenes --output-dir $(DEMO)/seen/images \
		--end-scene 1 --no-video
	cp $(DEMO)/seen/images/synthetic-0000/images/000005.jpg docs/demo.jpg

# What the gates say of faults that are planted in the demo's newest build: the tables of docs/gates.md.
planted-faults: demo
	$(BIN)/python -m benchmarks.planted_faults "$$(ls -td $(DEMO)/seen/store/builds/demo-*/ | head -n 1)" $(DEMO)/seen/scenes

# BEVFormer-Tiny at its true size, with random weights.
demo-full: $(BIN)/.installed-cpu $(DEMO)/checkpoint.pth $(DEMO)/scenes/scene_index.json
	$(BIN)/bevformer build --model tiny --checkpoint $(DEMO)/checkpoint.pth --scenes $(DEMO)/scenes \
		--store $(DEMO)/store --num-samples 8

$(DEMO)/checkpoint.pth: | $(BIN)/.installed-cpu
	$(BIN)/bevformer make-checkpoint tiny --output $@

$(DEMO)/scenes/scene_index.json: | $(BIN)/.installed-cpu
	$(BIN)/bevformer make-scenes --output $(DEMO)/scenes --num-scenes 2 --frames 12

test: $(BIN)/.installed-test lint types
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

# The fast loop: no server, no full-size model; a few minutes on two cores.
test-fast: $(BIN)/.installed-test
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(PYTEST_ARGUMENTS) -m "not slow"

# The fast tests with the lowest versions that pyproject.toml allows. Without `viewer`, whose reader in the tests asks for
# numpy 2; LOWEST_TORCH names another one where 2.6 is not on the index.
LOWEST_TORCH ?= 2.6.*
test-lowest:
	rm -rf $(VENV)-lowest && $(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) tests/support/lowest_versions.py cpu test | sed 's/^torch==.*/torch==$(LOWEST_TORCH)/' > $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint $(VENV)-lowest/lowest.txt --editable '.[cpu,test]'
	$(VENV)-lowest/bin/python -m pip install --quiet --no-deps nuscenes-devkit==1.2.0
	$(TEST_ENVIRONMENT) $(VENV)-lowest/bin/python -m pytest $(PYTEST_ARGUMENTS) -m "not slow"

# The images of infra/ built by their Dockerfiles, the compose file up, a night on it, all taken down. As root, with docker
# (Debian: apt-get install docker.io debootstrap systemd-container qemu-user-static); it starts dockerd where none runs.
# TEST_INFRA_KEEP=1 keeps the images.
test-infra: $(BIN)/.installed-test
	$(BIN)/python -m pip install --quiet $(LOCK) --editable '.[cpu,test,viewer,infra]'
	$(TEST_ENVIRONMENT) TEST_INFRA=1 $(BIN)/python -m pytest -s tests/infra/running

# Thousands of damaged files for every reader; `make test` takes a few.
FUZZ_EXAMPLES ?= 2000
fuzz: $(BIN)/.installed-test
	$(TEST_ENVIRONMENT) FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest $(PYTEST_ARGUMENTS) --dist load tests/fuzz

lint: $(BIN)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(BIN)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(BIN)/.installed-test
	$(BIN)/mypy

install: $(BIN)/.installed-cpu

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed-cpu: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(LOCK) --editable '.[cpu]'
	touch $@

$(BIN)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(LOCK) --editable '.[cpu,test,viewer]'
	$(BIN)/python -m pip install --quiet $(LOCK) --no-deps 'nuscenes-devkit>=1.2,<2'
	touch $@ $(BIN)/.installed-cpu

lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[cpu,test,viewer]'
	$(VENV)-lock/bin/python -m pip install --quiet --no-deps 'nuscenes-devkit>=1.2,<2'
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf $(VENV)-lock

clean-demo:
	rm -rf $(DEMO)
