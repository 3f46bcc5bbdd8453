# Each target makes .venv from nothing, with plain pip, where it is missing.
PYTHON ?= python3
BIN := .venv/bin
SETUP := setup.cfg pyproject.toml constraints.txt
# PyTorch's own index has builds for the CPU alone; PyPI's for Linux bring several GB of CUDA libraries. Where that
# index can't be reached, what pip finds elsewhere has to do.
TORCH_CPU := https://download.pytorch.org/whl/cpu

.PHONY: demo test lint docs clean

demo: .venv/.installed
	$(BIN)/svuprobe demo --out demo

test: lint
# One file a worker, one thread each: two cores are busy and nothing waits. Processes that tests start read the
# bytecode of the first, also where a machine is told to write none.
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile
	$(BIN)/svuprobe leaderboard --results benchmarks/results --out leaderboard.md --check

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
# mypy sees the mapped folders (folder X is svuprobe.X) only in a plain install.
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-compile --target build/plain .
# Its cache lies outside build: the second time it reads torch's types from there, in seconds.
	cd build/plain && ../../$(BIN)/mypy --cache-dir ../../.mypy_cache --config-file ../../setup.cfg -p svuprobe

# The documentation, to be read from the disk: site/index.html. A warning is an error.
docs: .venv/.installed-docs
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --target build/plain .
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/.torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --retries 0 --timeout 15 --index-url $(TORCH_CPU) \
	  "$$(grep '^torch==' constraints.txt)" \
	  || echo "$(TORCH_CPU) can't be reached: torch comes from where pip looks by default"
	touch $@

.venv/.installed: .venv/.torch $(SETUP)
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.torch $(SETUP)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	touch $@ .venv/.installed

.venv/.installed-docs: .venv/.torch $(SETUP)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[docs]"
	touch $@ .venv/.installed

clean:
	rm -rf .venv .mypy_cache build demo site
