#!/bin/sh
# Sets up .venv with everything that `make demo` and `make test` need. Run by make.
set -eu
PYTHON=${PYTHON:-python3}
BIN=${BIN:-.venv/bin}

# Debian ships venv apart from python3.
if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        apt-get install -y -qq python3-venv >/dev/null
    else
        echo "Python has no venv module: install the package python3-venv, then run make again." >&2
        exit 1
    fi
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Yingbi needs Python 3.11 or newer; set PYTHON=... to one." >&2
    exit 1
}
[ -x "$BIN/python" ] || "$PYTHON" -m venv "$(dirname "$BIN")"
[ -x "$BIN/uv" ] || "$BIN/python" -m pip install -q --disable-pip-version-check uv==0.13.9
"$BIN/uv" pip install -q --compile-bytecode --python "$BIN/python" --require-hashes -r constraints.txt
"$BIN/uv" pip install -q --python "$BIN/python" --no-deps -e .
sh scripts/build_native.sh
# Many short processes follow: without this, each would compile our sources anew where Python writes no bytecode.
"$BIN/python" -m compileall -q gateway enclave_sim clients demo
