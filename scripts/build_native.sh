#!/bin/sh
# Compiles what the enclave's engine has a faster form of in C, where there is a C compiler. Run by make.
# Without it everything works, from numpy alone. The library knows its source, so one of older code is not used.
set -eu
SOURCE=enclave_sim/engine/rows.c
TARGET=enclave_sim/engine/rows.so
COMPILER=${CC:-cc}

if ! command -v "$COMPILER" >/dev/null; then
    echo "No C compiler: rows are added up in numpy, which takes about twice as long." >&2
    exit 0
fi
digest=$(sha256sum "$SOURCE" | cut -d' ' -f1)
# No contraction: a fused multiply-add rounds once where numpy rounds twice.
if "$COMPILER" -std=c11 -O3 -fPIC -shared -ffp-contract=off -fno-trapping-math -fno-math-errno -Wall -Wextra -Werror "-DROWS_SOURCE=\"$digest\"" \
    "$SOURCE" -o "$TARGET.new"; then
    mv "$TARGET.new" "$TARGET"
else
    rm -f "$TARGET.new"
    echo "$SOURCE did not compile: rows are added up in numpy, which takes about twice as long." >&2
fi
