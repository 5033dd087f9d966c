# What CI checks, by name. `just` lists the recipes.

# Everything that CI runs, in a fresh environment
check:
    .ci/run

# The tests, or some of them: just test tests/unit -k splits
test *args:
    pytest {{args}}

# The linters, the type checker and the import contracts
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# Benchmarks, all or by name, written into the docs: just bench recipe minilm
bench *names:
    python -m benchmarks {{names}} --write

# Check that what the documentation names exists
docs:
    pytest tests/unit/test_docs.py
