.DEFAULT_GOAL := help
.PHONY: help fmt check test demo check-extra prove dashboard bench

help: ## Say what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

fmt: ## Format the code and mend what can be mended
	uv run ruff format
	uv run ruff check --fix

check: ## Format, lint, types, and the tests that need no Java (under a minute)
	uv run ruff format --check
	uv run ruff check
	uv run mypy
	uv run pytest -q tests/unit tests/aws tests/contract tests/bundle tests/workspace

test: ## Everything
	uv run pytest

demo: ## The whole chain on this machine
	uv run lakehouse demo

check-extra: ## The wheel and the writer's archive build, its template stands up to every linter, the report in a browser; what takes minutes
	uv run python tests/sam/tools.py
	LAKEHOUSE_TOOLS=required uv run pytest -q -m "extra and not alone"
	uv run pytest -q -n0 -m "extra and alone"

prove: ## The proofs at full size; what they measure goes into docs/proof.md
	rm -f .proof.jsonl
	LAKEHOUSE_PROOF=$(CURDIR)/.proof.jsonl uv run pytest -q -n0 -m prove
	LAKEHOUSE_PROOF=$(CURDIR)/.proof.jsonl uv run pytest -q -n0 tests/integration/test_crashes.py
	LAKEHOUSE_PROOF=$(CURDIR)/.proof.jsonl uv run python tests/proof/mutations.py
	uv run python tests/proof/report.py .proof.jsonl

dashboard: ## Write the dashboard's file anew, from the report's queries
	uv run python -m lakehouse.report.dashboard > resources/lakehouse.lvdash.json

bench: ## The benchmarks behind docs/performance.md
	uv run python benchmarks/ingest.py
	uv run python benchmarks/backfill.py
	uv run python benchmarks/metrics.py
	uv run --with orjson python benchmarks/writer.py
