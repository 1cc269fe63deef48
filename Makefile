# Everything a person types first.  PYTHON picks the interpreter (3.11 or newer), PIP_ARGS passes through to pip.
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/pytest -n 2

.PHONY: install demo dashboard check test prove

# Other targets install, too, and say at their end what to type.
install: .venv/installed
	@$(if $(filter install,$(MAKECMDGOALS)),echo "next: $(BIN)/harness --help; or just harness after source $(BIN)/activate",:)

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation -e .
	touch $@

demo: install
	$(BIN)/harness demo

dashboard: install
	$(BIN)/harness dashboard

# While working, under a minute: style, types, architecture, words, and the tests nearest to what differs from HEAD.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	nearest=$$($(BIN)/python tests/changed.py) || exit 1; \
		$(PYTEST) -x tests/test_architecture.py tests/test_words.py tests/test_pages.py $$nearest

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

# All that takes longer than `make test`: at most 75 minutes on two cores with nothing else to do; it ends with a table.
prove: install
	$(PYTEST) --maxschedchunk 1 -m prove

# One table of results/tables: `make table-noise` runs the shipped grid `noise` and prints its leaderboard;
# `make table-overhead` prints what objectives cost, which takes a machine with nothing else to do.
METRICS := exact_kl,out_of_support,bad_texts,out_of_support_forced_5,out_of_support_forced_20,p_back_one,p_back_two,backspace_rate,actions_per_kept_token
WORKERS := 2
SHOWN = leaderboard $* --metric $(METRICS)
table-overhead: WORKERS := 1
table-overhead: SHOWN = overhead $* --all
table-%: install
	$(BIN)/harness run $* --workers $(WORKERS) --threads $(WORKERS) --store sqlite:///results/$*/runs.db
	COLUMNS=200 $(BIN)/harness $(SHOWN) --store sqlite:///results/$*/runs.db

# Each budget by itself: rows that spent the same in its unit are ranked.
table-budgets: install
	$(BIN)/harness run budgets --workers 1 --threads 1 --store sqlite:///results/budgets/runs.db
	for unit in step=600 token=400000 second=8; do \
		COLUMNS=200 $(BIN)/harness leaderboard budgets --filter training.$${unit%=*}s=$${unit#*=} --per $${unit%=*} \
			--metric exact_kl,out_of_support,bad_texts,backspace_rate --store sqlite:///results/budgets/runs.db; \
	done
