"""One module for each published claim: ``.venv/bin/python -m benchmarks.NAME`` prints its figures as JSON."""
