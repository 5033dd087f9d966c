"""Benchmarks of finetext against what people use today: `python -m benchmarks`."""
