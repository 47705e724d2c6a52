#!/usr/bin/env bash
# Makes .venv from the hashed requirements: uv from the package index, everything else through uv.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

fail() { echo "setup: $1" >&2; exit 1; }

command -v "$python" >/dev/null || fail "$python not found: apt-get install python3, or set PYTHON=/path/to/python3.11"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$python is older than 3.11: set PYTHON=/path/to/python3.11"

install_uv() { # the arguments are the command that runs pip inside .venv
  "$@" install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt ||
    fail "uv could not be installed: is the package index reachable? (PIP_INDEX_URL, PIP_CERT, pip.conf)"
}

bootstrap_pip() {
  # Debian leaves ensurepip to the package python3-venv. Its pip wheel is unpacked beside us instead, so that nothing
  # of the system changes. The wheel is moved to its place when it is whole: an interruption leaves no half of it.
  command -v apt-get >/dev/null ||
    fail "$python has no ensurepip: install your system's package for python3 venv, then run make again"
  local cache="${XDG_CACHE_HOME:-$HOME/.cache}/inference-autoscaler/pip"
  if ! compgen -G "$cache/pip-*.whl" >/dev/null; then
    mkdir -p "$cache" || fail "cannot write $cache: set XDG_CACHE_HOME to a writable folder"
    scratch="$(mktemp -d "$cache/.scratch.XXXXXX")"
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
    # The system's sources, keys and proxies are kept. Its apt hooks are not: they would clean the system's own cache.
    {
      apt-config dump | grep '^Acquire::' || true
      printf '%s "%s";\n' Dir::Etc::main /dev/null Dir::Etc::parts /dev/null APT::Sandbox::User root \
        Dir::State::lists "$scratch/lists" Dir::Cache "$scratch" Dir::Cache::archives "$scratch/archives"
    } >"$scratch/apt.conf"
    export APT_CONFIG="$scratch/apt.conf"
    # One source of many that does not answer fails the update; whether the package can be had is what counts.
    (cd "$scratch" && { apt-get -qq update || true; } && apt-get -qq download python3-pip-whl &&
      dpkg -x python3-pip-whl_*.deb . && mv usr/share/python-wheels/pip-*.whl "$cache/") >&2 ||
      fail "pip could not be had: apt-get install python3-venv, then run make again"
    unset APT_CONFIG
  fi
  local wheel
  wheel="$(compgen -G "$cache/pip-*.whl" | head -n 1)"
  "$python" -m venv --clear --without-pip .venv || fail "$python could not make .venv: is there space left here?"
  install_uv .venv/bin/python "$wheel/pip"
}

# Scripts in a virtual environment name its absolute path: one that was moved or copied is made again.
here="$PWD"
if [ ! -x .venv/bin/uv ] || ! .venv/bin/python -c '' 2>/dev/null ||
  [ "$(cat .venv/.made-in 2>/dev/null || echo "$here")" != "$here" ]; then
  echo "setup: making .venv (once, about a minute)" >&2
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear .venv || fail "$python could not make .venv: is there space left here?"
    install_uv .venv/bin/python -m pip
  else
    bootstrap_pip
  fi
fi
echo "$here" >.venv/.made-in
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/dev.txt ||
  fail "the requirements could not be installed: is the package index reachable?"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable . ||
  fail "the project itself could not be installed into .venv"
# The simulator's compiled code is made once here, so that the first demo does not wait for the compiler.
echo "setup: compiling the simulator's engine (once, about 25 s)" >&2
# With the default action Ctrl-C ends it without a traceback; the next make goes on from there.
.venv/bin/python -c 'import runpy, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
runpy.run_module("simulator.compiled", run_name="__main__")' >&2
