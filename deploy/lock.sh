#!/usr/bin/env bash
# Locks the requirements by hash. A lock file of uv's own would record the addresses of the index, so it is not used.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
    --no-emit-index-url --no-emit-find-links "$@"
}
compile requirements/uv.in -o requirements/uv.txt
compile pyproject.toml --extra simulator --group test --group benchmarks --group cluster -o requirements/dev.txt
compile pyproject.toml -o requirements/controller.txt
compile --no-build --prerelease allow requirements/aisimulate.in -o requirements/aisimulate.txt
