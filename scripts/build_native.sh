#!/bin/sh
# Compiles what the enclave has a faster form of in C, where there is a C compiler. Run by make.
# Without it everything works, from numpy and gmpy2. A library knows its source, so one of older code is not used.
set -eu
COMPILER=${CC:-cc}

# compile NAME CONSTANT WITHOUT FLAG...: NAME.c to NAME.so; CONSTANT tells it its digest, WITHOUT is what happens else.
compile() {
    name=$1 constant=$2 without=$3
    shift 3
    if ! command -v "$COMPILER" >/dev/null; then
        echo "No C compiler: $without." >&2
        return
    fi
    digest=$(sha256sum "$name.c" | cut -d' ' -f1)
    if "$COMPILER" -std=c11 -O3 -fPIC -shared -Wall -Wextra -Werror "$@" "-D$constant=\"$digest\"" "$name.c" -o "$name.so.new"; then
        mv "$name.so.new" "$name.so"
    else
        rm -f "$name.so.new"
        echo "$name.c did not compile: $without." >&2
    fi
}

# No contraction: a fused multiply-add rounds once where numpy rounds twice.
compile enclave_sim/engine/rows ROWS_SOURCE "rows are added up in numpy, which takes about twice as long" \
    -ffp-contract=off -fno-trapping-math -fno-math-errno
compile enclave_sim/paillier/powers POWERS_SOURCE "modular powers are made by gmpy2, which takes several times as long"
